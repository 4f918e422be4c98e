"""The story of one run, from its configuration to its folder: the only module that knows all rooms."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from dxa_tbs import records
from dxa_tbs.compose import to_plain
from dxa_tbs.config import AdhocConfig, Config, FolderConfig, TestEpoch
from dxa_tbs.data.audit import check_split, check_unseen
from dxa_tbs.data.images import hash_sources
from dxa_tbs.data.prepare import Prepared, count_images, prepare_images, read_cohort, split_cohort, with_copies
from dxa_tbs.data.split import SPLITS
from dxa_tbs.environment import describe_software
from dxa_tbs.evaluation.metrics import alarms, best_f1_threshold, binary_auc, binary_metrics
from dxa_tbs.logs import gathered_warnings, log_file
from dxa_tbs.models.adhoc import build_adhoc, count_parameters
from dxa_tbs.report import run_figures
from dxa_tbs.training.batches import Normalisation, build_normalisation, predict_logits, to_samples, to_scores
from dxa_tbs.training.checkpoint import load_weights, save_weights
from dxa_tbs.training.device import choose_device, compute_exactly, describe_device, synchronise
from dxa_tbs.training.fit import Epoch, build_optimizer, fit
from dxa_tbs.training.timing import ten_epochs

log = logging.getLogger("dxa_tbs.experiment")


def run_experiment(config: Config, overrides: Sequence[str]) -> Path:
    """Train and test, or only test (`evaluate`), unless that is done already; return the run folder.

    Args:
        config: checked.
        overrides: what the user typed, for the name of the folder.

    Raises:
        Refusal: the data, the folder or the device cannot be used.
    """
    clock = [time.perf_counter()]
    device = choose_device(config.trainer.device)
    source = Path(config.evaluate) if config.evaluate else None
    weights_sha256 = records.sha256_of_file(source / "model.pt") if source else None
    run_dir = records.run_folder(to_plain(config), overrides, weights_sha256=weights_sha256)
    with gathered_warnings() as warnings:
        cohort = read_cohort(config.dataset, config.labels, config.split)
        cohort["source_sha256"] = hash_sources(cohort)
        cohort["split"] = split_cohort(cohort, config.split)
        check_split(cohort, needed=("test",) if source else SPLITS)
        data_sha256 = records.sha256_of_table(cohort.drop(columns=["source"]))
        data = _load(config, cohort, source)
        clock.append(time.perf_counter())
        with records.claim_run(run_dir, to_plain(config), data_sha256=data_sha256) as is_to_do:
            if not is_to_do:
                log.info("skipped, finished already: %s", run_dir)
                return run_dir
            with log_file(run_dir / "train.log", so_far=warnings):
                if source is None:
                    data = with_copies(data, config.augmentation, seed=config.seed)
                records.write_table(run_dir / "split.csv", data.table)
                facts = _train_and_test(config, run_dir, data, device=device, source=source, clock=clock)
                told = {"data_sha256": data_sha256, "synthetic": data.is_synthetic, "bits": data.bits}
                facts = {**told, **facts, "warnings": warnings}
                records.write_json(run_dir / records.METRICS, facts)
                log.info("finished: %s", run_dir)
    return run_dir


def _load(config: Config, cohort: pd.DataFrame, source: Path | None) -> Prepared:
    """Return the originals; to be evaluated, they must be new to the weights and get the grey levels these know."""
    bits = getattr(config.dataset, "bits", None)
    if source is not None and bits is None:
        bits = records.read_json(source / records.METRICS)["bits"]
    data = prepare_images(
        cohort,
        fit=config.preprocessing.fit,
        bits=bits,
        subgroups=config.dataset.subgroups,
        cache_dir=Path(config.cache_dir),
    )
    if source is not None:
        seen = records.read_table(source / "split.csv").query("split != 'test'")
        has_patients = "normal_folder" not in records.read_config(source)["dataset"]
        by_patient = has_patients and not isinstance(config.dataset, FolderConfig)
        check_unseen(data.table.query("split == 'test'"), seen, run=str(source), by_patient=by_patient)
    return data


def _train_and_test(
    config: Config, run_dir: Path, data: Prepared, *, device: torch.device, source: Path | None, clock: list[float]
) -> dict[str, Any]:
    """Write all of the run folder that needs a network, and return what metrics.json says of it."""
    compute_exactly()
    torch.manual_seed(config.seed)
    assert isinstance(config.model, AdhocConfig)
    model = build_adhoc(config.model.filters, config.model.fc_widths).to(device).to(memory_format=torch.channels_last)
    normalise = build_normalisation(config.model.input_mean, config.model.input_std, device)
    environment = describe_software() | describe_device(device)  # now: what it cannot find must not cost a trained run
    if source is None:
        facts = _train(config, run_dir, data, model, normalise, clock=clock)
        weights, threshold = {"trained_from": "random initialisation"}, None
    else:
        load_weights(model, source / "model.pt")
        facts, weights = {"evaluated_run": str(source)}, {"evaluated_run": str(source)}
        threshold = float(records.read_json(source / records.METRICS)["thresholds"]["val_f1"])
    weights["sha256"] = records.sha256_of_file((source or run_dir) / "model.pt")
    records.write_json(run_dir / "environment.json", environment | {"weights": weights})
    predictions = _predict(data, model, normalise)
    records.write_table(run_dir / "predictions.csv", predictions)
    results = _score(predictions, fixed=config.evaluation.threshold, val_f1=threshold)
    _draw(run_dir / "figures", data, predictions, config.evaluation.threshold)
    return {"trainable_parameters": count_parameters(model), **facts, "num_images": count_images(data.table), **results}


def _train(
    config: Config, run_dir: Path, data: Prepared, model: nn.Module, normalise: Normalisation, *, clock: list[float]
) -> dict[str, Any]:
    """Fit; write history, timing and weights; the model then holds the weights to test.

    Args:
        clock: readings at the start of the run and when the decoded images existed.
    """
    history: list[Epoch] = []
    epoch_ends_s: list[float] = []

    def on_epoch(epoch: Epoch) -> None:
        history.append(epoch)
        epoch_ends_s.append(time.perf_counter() - clock[0])
        records.write_table(run_dir / "history.csv", pd.DataFrame(history))

    settings = {key: value for key, value in dataclasses.asdict(config.optimizer).items() if key != "name"}
    train, val = (to_samples(*data.part(name), normalise.scale_C.device) for name in ("train", "val"))
    synchronise(normalise.scale_C.device)
    clock = [*clock, time.perf_counter()]
    fitted = fit(
        model,
        train,
        val,
        optimizer=build_optimizer(model, config.optimizer.name, **settings),
        normalise=normalise,
        batch_size=config.trainer.batch_size,
        epochs=config.trainer.epochs,
        patience=config.trainer.patience,
        keeps_last=config.trainer.test_epoch is TestEpoch.last,
        seed=config.seed,
        auc=binary_auc,
        on_epoch=on_epoch,
    )
    if fitted.stopped_by == "nan":
        log.warning("NaN loss after epoch %d: the weights of epoch %d are tested", len(history), fitted.tested_epoch)
    model.load_state_dict(fitted.state)
    save_weights(fitted.state, run_dir / "model.pt")
    data_s, prepare_s = np.diff(clock).tolist()
    timing = ten_epochs(history, num_train=len(train), data_s=data_s, prepare_s=prepare_s, epoch_ends_s=epoch_ends_s)
    records.write_json(run_dir / "timing.json", timing)
    run_figures.draw_history(
        run_dir / "figures",
        pd.DataFrame(history),
        tested_epoch=fitted.tested_epoch,
        is_synthetic=data.is_synthetic,
    )
    return {"epochs": len(history), "stopped_by": fitted.stopped_by, "tested_epoch": fitted.tested_epoch}


def _predict(data: Prepared, model: nn.Module, normalise: Normalisation) -> pd.DataFrame:
    """Return image_id, split, label and score of every image of val and test."""
    scored = data.table[data.table["split"] != "train"]
    pixels = torch.from_numpy(np.array(data.pixels[scored.index])).to(normalise.scale_C.device)
    scores = to_scores(predict_logits(model, pixels, normalise))
    assert len(scores) == len(scored)
    return scored[["image_id", "split", "label"]].assign(score=scores)


def _score(predictions: pd.DataFrame, *, fixed: float, val_f1: float | None) -> dict[str, Any]:
    """Return the metrics of each split at the fixed threshold and at the one chosen on validation.

    Args:
        val_f1: the threshold chosen when the weights were trained; None: choose it now, on val.
    """
    parts = {name: (part["label"].to_numpy(), part["score"].to_numpy()) for name, part in predictions.groupby("split")}
    thresholds = {"fixed": fixed, "val_f1": best_f1_threshold(*parts["val"]) if val_f1 is None else val_f1}
    results: dict[str, Any] = {"thresholds": thresholds}
    for name, (labels, scores) in sorted(parts.items(), reverse=True):
        for text in alarms(scores, threshold=fixed, split=name):
            log.warning(text)
        results[name] = {f"at_{rule}": binary_metrics(labels, scores, value) for rule, value in thresholds.items()}
    at_fixed = results["test"]["at_fixed"]
    log.info(
        "test: " + ", ".join(f"{name} {at_fixed[name]:.3f}" for name in ("f1", "sensitivity", "specificity", "auc"))
    )
    return results


def _draw(folder: Path, data: Prepared, predictions: pd.DataFrame, threshold: float) -> None:
    test = predictions[predictions["split"] == "test"]
    labels, scores, is_synthetic = test["label"].to_numpy(), test["score"].to_numpy(), data.is_synthetic
    run_figures.draw_roc(folder, labels, scores, threshold=threshold, is_synthetic=is_synthetic)
    run_figures.draw_confusion(folder, labels, scores, threshold=threshold, is_synthetic=is_synthetic)
    run_figures.draw_augmentation(folder, data.table, data.pixels, is_synthetic=is_synthetic)

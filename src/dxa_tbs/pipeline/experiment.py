"""The story of one run, from its configuration to its folder: the only module that knows all rooms.

Torch is imported when there is something to train: what is refused or finished already is answered before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dxa_tbs.config.choices import NearDuplicates, Watched
from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.schema import Config, PretrainedConfig
from dxa_tbs.data.audit import check_nearly_unseen, check_split, check_unseen
from dxa_tbs.data.images import hash_sources
from dxa_tbs.data.labels import permute_labels
from dxa_tbs.data.split import SPLITS
from dxa_tbs.errors import Refusal
from dxa_tbs.evaluation.metrics import binary_auc
from dxa_tbs.hashes import sha256_of_file, sha256_of_table
from dxa_tbs.pipeline import outcome
from dxa_tbs.pipeline.clock import Clock, watch_other_load
from dxa_tbs.pipeline.environment import describe_software, utc_now
from dxa_tbs.pipeline.imports import collector_paused
from dxa_tbs.pipeline.logs import gathered_warnings, log_file
from dxa_tbs.pipeline.prepare import Prepared, count_images, prepare_images, read_cohort, split_cohort, with_copies
from dxa_tbs.runs.files import (
    METRICS_JSON,
    SIGNATURES_NPY,
    gathered_digests,
    read_csv,
    read_json,
    write_csv,
    write_json,
)
from dxa_tbs.runs.folder import claim_run, is_finished, state_of
from dxa_tbs.runs.identity import names_patients, read_config, run_folder
from dxa_tbs.runs.study_plan import plan_sha256
from dxa_tbs.verification import seal

if TYPE_CHECKING:
    from dxa_tbs.pipeline.network import Network
    from dxa_tbs.pipeline.trial import Learner
    from dxa_tbs.training.fit import Epoch

log = logging.getLogger("dxa_tbs.experiment")


def run_experiment(config: Config, *, defaults: Mapping[str, Any] | None = None) -> Path:
    """Train and test, or only test (`evaluate`), unless that is done already; return the run folder.

    Args:
        config: checked.
        defaults: of the same dataset, approach and model (`compose.default_settings`), for the name of the folder.

    Raises:
        Refusal: the data, the folder, the weights or the device cannot be used.
    """
    clock = Clock()
    source = Path(config.evaluate) if config.evaluate else None
    weights_sha256 = _weights_sha256(config, source)
    run_dir = run_folder(to_plain(config), defaults=defaults, evaluated_sha256=weights_sha256 if source else None)
    with gathered_warnings() as warnings, gathered_digests() as digests:
        cohort = read_cohort(config.dataset, config.labels, config.split)
        cohort["source_sha256"] = hash_sources(cohort)
        cohort_sha256 = sha256_of_table(cohort.drop(columns=["source"]))
        cohort["split"] = split_cohort(cohort, config.split)
        if config.labels.permuted_seed is not None:
            cohort = permute_labels(cohort, seed=config.labels.permuted_seed)
        check_split(cohort, needed=("test",) if source else SPLITS)
        made_from = {
            "data_sha256": sha256_of_table(cohort.drop(columns=["source"])),
            "weights_sha256": weights_sha256,
        }
        if state_of(run_dir) == "finished":
            seal.require_intact(run_dir)
        if is_finished(run_dir, to_plain(config), made_from):
            log.info("skipped, finished already: %s", run_dir)
            return run_dir

        with collector_paused():  # here, because they import torch
            from dxa_tbs.pipeline.network import build_network
            from dxa_tbs.training.device import measure_gpu_memory
            from dxa_tbs.training.process import set_up_process

        with clock.part("prepare_s"):
            device, precision = set_up_process(config.trainer.device, config.trainer.precision, seed=config.seed)
            trained = source / "model.pt" if source else None
            network = build_network(
                config.model, config.approach, config.trainer, device=device, precision=precision, trained=trained
            )
            measure_gpu_memory(device)
        data = _load(config, cohort, source)
        with claim_run(run_dir, to_plain(config), made_from) as is_to_do:
            if is_to_do:
                with log_file(run_dir / "train.log", so_far=warnings):
                    facts = _fill(config, run_dir, data, cohort, network, source=source, clock=clock)
                    told = {
                        **made_from,
                        "cohort_sha256": cohort_sha256,
                        "synthetic": data.is_synthetic,
                        "bits": data.bits,
                    }
                    seal.write_metrics(run_dir, {**told, **facts, "warnings": warnings}, digests)
                    log.info("finished: %s", run_dir)
    return run_dir


def _weights_sha256(config: Config, source: Path | None) -> str | None:
    """Return the hash of the file of weights that the user names, if any: another file is another run.

    Raises:
        Refusal: the run that is to be evaluated is damaged.
    """
    if source is not None:
        seal.require_intact(source, with_weights=True)
        return str(read_json(source / "environment.json")["weights"]["sha256"])
    if isinstance(config.model, PretrainedConfig) and config.model.weights not in ("imagenet", "none"):
        return sha256_of_file(Path(config.model.weights))
    return None


def _load(config: Config, cohort: pd.DataFrame, source: Path | None) -> Prepared:
    """Return the originals; to be evaluated, they must be new to the weights and get the grey levels these know."""
    bits = getattr(config.dataset, "bits", None)
    if source is not None and bits is None:
        bits = read_json(source / METRICS_JSON)["bits"]
    data = prepare_images(
        cohort,
        fit=config.preprocessing.fit,
        region=config.preprocessing.region,
        bits=bits,
        subgroups=config.dataset.subgroups,
        near_duplicates=config.dataset.near_duplicates,
        cache_dir=Path(config.cache_dir),
    )
    if source is not None:
        _check_new_to(source, data, config)
    return data


def _check_new_to(source: Path, data: Prepared, config: Config) -> None:
    """Refuse to evaluate a run on images, or on patients, that it was trained or validated on."""
    seen = read_csv(source / "split.csv").query("split != 'test'")
    datasets = read_config(source)["dataset"], to_plain(config)["dataset"]
    is_test = data.table["split"] == "test"
    test = data.table[is_test]
    check_unseen(test, seen, run=str(source), by_patient=all(map(names_patients, datasets)))
    if not (source / SIGNATURES_NPY).is_file():
        log.warning("the evaluated run keeps no signatures: near-duplicates of its training images cannot be found")
        return
    originals = seen[seen["origin"] == ""]
    try:
        known = np.load(source / SIGNATURES_NPY)
    except (OSError, ValueError, EOFError):
        known = np.empty(0)
    if known.shape != (len(originals), data.signatures.shape[1]):
        raise Refusal(f"{source / SIGNATURES_NPY} is damaged: bring it back from a copy, or train the run again")
    refuses = config.dataset.near_duplicates is NearDuplicates.refuse
    check_nearly_unseen(test, data.signatures[is_test], originals, known, refuses=refuses)


def _fill(
    config: Config,
    run_dir: Path,
    data: Prepared,
    cohort: pd.DataFrame,
    network: Network,
    *,
    source: Path | None,
    clock: Clock,
) -> dict[str, Any]:
    """Train, if no source gives the weights, and test; write the folder; return what metrics.json says of it."""
    from dxa_tbs.pipeline import trial
    from dxa_tbs.training.checkpoint import save_weights
    from dxa_tbs.training.device import describe_device

    environment = describe_software() | describe_device(
        network.device, network.precision.value
    )  # now: what it cannot find must not cost a trained run
    environment |= {"started": utc_now(), "study_sha256": plan_sha256(Path(config.output_root, config.name))}
    write_csv(run_dir / "layers.csv", pd.DataFrame(network.layers))
    write_csv(run_dir / "measures.csv", data.measures)
    with clock.part("prepare_s"):
        if source is None:
            np.save(run_dir / SIGNATURES_NPY, data.signatures[data.table["split"] != "test"])
            data = with_copies(data, config.augmentation, seed=config.seed, cache_dir=Path(config.cache_dir))
        write_csv(run_dir / "split.csv", data.table)
        learner = trial.build_learner(
            network, config.approach, data.pixels, data.table["sha256"].tolist(), cache_dir=Path(config.cache_dir)
        )
    example = outcome.example_frame(cohort, data.bits)  # now: it reads a file
    if source is None:
        facts = _train(config, run_dir, data, learner, clock=clock)
        save_weights(network.state, run_dir / "model.pt")
        threshold = None
    else:
        is_external = read_config(source)["dataset"] != to_plain(config)["dataset"]
        facts = {"evaluated_run": str(source), "is_external": is_external}
        threshold = outcome.threshold_of(source)
    sha256 = sha256_of_file((source or run_dir) / "model.pt")
    write_json(run_dir / "environment.json", environment | {"weights": network.weights | {"sha256": sha256}})
    scored = data.table[data.table["split"] != "train"]
    scores = trial.predict(learner, trial.take_samples(learner, scored.index.to_numpy(), scored["label"].to_numpy()))
    predictions = scored[["image_id", "split", "label"]].assign(score=scores)
    write_csv(run_dir / "predictions.csv", predictions)
    originals = predictions[scored["origin"] == ""]
    results = outcome.score(originals, fixed=config.evaluation.threshold, val_f1=threshold)
    outcome.keep_errors(
        run_dir, data, predictions, threshold=config.evaluation.threshold, shown=config.evaluation.shown_errors
    )
    outcome.draw(
        config, run_dir, data, predictions, example, is_as_meant=network.is_as_meant, tested=facts.get("tested_epoch")
    )
    counts = {"trainable_parameters": network.trainable_parameters, "num_images": count_images(data.table)}
    return {"initialisation": network.weights["initial"], **counts, **facts, **results}


def _train(config: Config, run_dir: Path, data: Prepared, learner: Learner, *, clock: Clock) -> dict[str, Any]:
    """Fit; write history and timing; the learner then holds the weights to test."""
    from dxa_tbs.pipeline import trial
    from dxa_tbs.training.device import peak_memory_mib
    from dxa_tbs.training.timing import ten_epochs

    history: list[Epoch] = []
    epoch_ends_s: list[float] = []

    def on_epoch(epoch: Epoch) -> None:
        history.append(epoch)
        epoch_ends_s.append(clock.since_start_s())
        write_csv(run_dir / "history.csv", pd.DataFrame(history))

    with clock.part("prepare_s"):
        labels, split = data.table["label"].to_numpy(), data.table["split"]
        is_original = (data.table["origin"] == "").to_numpy()
        is_watched = (split == "val") & (is_original | (config.trainer.watched is Watched.all))
        rows = {"train": np.flatnonzero(split == "train"), "watched": np.flatnonzero(is_watched)}
        train, watched = (trial.take_samples(learner, chosen, labels[chosen]) for chosen in rows.values())
    data_s = clock.since_start_s() - clock.parts_s["prepare_s"]
    with clock.part("compile_s"):
        step = trial.prepare_step(
            learner, train, approach=config.approach, trainer=config.trainer, optimizer=config.optimizer
        )
    other_load = watch_other_load()
    fitted = trial.train(
        learner,
        step,
        train,
        watched,
        is_original_N=is_original[rows["watched"]],
        approach=config.approach,
        trainer=config.trainer,
        seed=config.seed,
        auc=binary_auc,
        on_epoch=on_epoch,
    )
    if fitted.stopped_by == "nan":
        log.warning("NaN loss after epoch %d: the weights of epoch %d are tested", len(history), fitted.tested_epoch)
    timing = ten_epochs(
        history, num_train=len(train), parts_s={"data_s": data_s, **clock.parts_s}, epoch_ends_s=epoch_ends_s
    )
    timing |= {"features_from_cache": learner.features_from_cache, "cores_busy_elsewhere": other_load()}
    timing |= peak_memory_mib(learner.device)
    write_json(run_dir / "timing.json", timing)
    return {"epochs": len(history), "stopped_by": fitted.stopped_by, "tested_epoch": fitted.tested_epoch}

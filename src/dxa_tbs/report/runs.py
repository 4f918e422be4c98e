"""Finished runs, read from their folders; repeats of one experiment brought together. Never imports torch.

Runs that differ in nothing but their seed are repeats of one experiment. The folds of a cross-validation are one
repeat, once all of them are finished: their test images are pooled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.calibration import apply_temperature, fit_temperature
from dxa_tbs.evaluation.intervals import Estimate, estimates
from dxa_tbs.evaluation.measured import Scored, build_scored
from dxa_tbs.evaluation.metrics import best_f1_threshold, binary_auc
from dxa_tbs.hashes import sha256_of_table
from dxa_tbs.report.paper import is_papers_experiment
from dxa_tbs.report.patients import knows_patients, read_who
from dxa_tbs.runs.files import METRICS_JSON, read_csv, read_json
from dxa_tbs.runs.identity import WITHOUT_EFFECT, flatten, read_config

NOT_OF_THE_EXPERIMENT = (
    *WITHOUT_EFFECT,
    "seed",
    "split.fold",
    "trainer.device",
    "model.weights",
)


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        folder: relative to the outputs.
        config, facts, timing, environment: what its files hold.
        test: image_id, patient_id, label, tbs, subgroup columns; score, also after the temperature (`tempered`, NaN
            where there was nothing to fit it on); threshold, the one of the best F1 on the validation originals.
        who_sha256: of image, patient and split of all originals, whatever their labels.
        temperature, val_auc: fitted on, and of, the validation originals.
    """

    folder: str
    config: dict[str, Any]
    facts: dict[str, Any]
    timing: dict[str, Any]
    environment: dict[str, Any]
    test: pd.DataFrame
    who_sha256: str
    temperature: float
    val_auc: float

    @property
    def settings(self) -> dict[str, Any]:
        """Return all settings under dotted keys: trainer.epochs."""
        return flatten(self.config)

    @property
    def has_val_copies(self) -> bool:
        """Return whether there were augmented copies in the validation set of the training."""
        return any(self.config["augmentation"][f"copies_per_{name}"] > 0 for name in ("normal", "degraded"))

    @property
    def threshold_saw_copies(self) -> bool:
        """Return whether an evaluation has a threshold that version 0.1.0 chose with copies among the images."""
        return "evaluated_run" in self.facts and "threshold_of" not in self.facts and self.has_val_copies


@dataclass(frozen=True)
class Experiment:
    """Repeats of one experiment on one test set.

    Attributes:
        repeats: one per seed; the runs of each are its folds, usually one.
        seeds: one per repeat.
        test_set: the same for experiments tested on the same images with the same labels, and for no others.
        number: of those of the same network and approach, from 1.
        set_name: of its test set, where the experiments beside it have another; else empty.
        estimates: mean over repeats of each metric at the fixed threshold; the interval is over other patients and, as
            far as several seeds or folds show it, over other trainings.
        of_these_networks: the same with intervals over other patients alone.
        images: of the test set, in the order of `scored`: image_id, patient_id, label, tbs, subgroup columns.
    """

    repeats: list[list[Run]]
    seeds: list[int]
    test_set: str
    scored: Scored
    estimates: dict[str, Estimate]
    of_these_networks: dict[str, Estimate]
    number: int
    images: pd.DataFrame
    set_name: str = ""

    @property
    def runs(self) -> list[Run]:
        return [run for runs in self.repeats for run in runs]

    @property
    def first(self) -> Run:
        return self.repeats[0][0]

    @property
    def control(self) -> str:
        """Return what makes it a control rather than an experiment: labels without meaning, images in parts."""
        config = self.first.config
        region = config["preprocessing"].get("region", "whole")
        named = [] if region == "whole" else [f"{region} alone"]
        return ", ".join(named + ["permuted labels"] * (config["labels"].get("permuted_seed") is not None))

    @property
    def knows_patients(self) -> bool:
        return knows_patients(self.first.config)

    @property
    def val_auc(self) -> float:
        """Return the mean over runs of the AUC on the validation originals."""
        return float(np.mean([run.val_auc for run in self.runs]))

    def of_test_images(self, column: str) -> np.ndarray:
        """Return a column of the runs' test images, (S, N), in the order of `scored`."""
        return np.stack([_pooled(runs)[column].to_numpy() for runs in self.repeats])

    @property
    def approach(self) -> str:
        return str(self.first.config["approach"]["name"])

    @property
    def model(self) -> str:
        return str(self.first.config["model"]["name"])

    @property
    def is_papers(self) -> bool:
        return is_papers_experiment(self.approach, self.first.config["model"])

    @property
    def auc_of_each(self) -> list[float]:
        """Return the AUC of each repeat, in a cross-validation the mean of its folds'."""
        if not self.scored.has_both_classes:
            return [math.nan] * len(self.seeds)
        return [float(auc) for auc in self.scored.auc.of_each]

    @property
    def num_trainings(self) -> int:
        """Return how many trainings each figure rests on: the number of seeds, or of folds."""
        return max(len(self.seeds), self.scored.num_folds)

    @property
    def folder(self) -> str:
        return self.first.folder

    @property
    def times_s(self) -> np.ndarray:
        """Return the times of ten epochs on the first run's device, without those that read cached features."""
        alike = [run for run in self.runs if run.environment.get("device") == self.first.environment.get("device")]
        times = [run.timing.get("time_10_epochs_s") for run in alike if not run.timing.get("features_from_cache")]
        return np.array([time for time in times if time is not None], float)


def read_run(root: Path, run_dir: Path) -> Run:
    def optional(name: str) -> dict[str, Any]:
        return read_json(run_dir / name) if (run_dir / name).is_file() else {}  # an evaluation has no timing

    who = read_who(run_dir)
    whose = who[who["origin"] == ""][["image_id", "patient_id", "split"]].sort_values("image_id")
    scored = read_csv(run_dir / "predictions.csv").merge(
        who.drop(columns=["split", "label", "sha256"]), on="image_id", validate="one_to_one"
    )
    facts = read_json(run_dir / METRICS_JSON)
    val = scored[(scored["split"] == "val") & (scored["origin"] == "")]
    temperature = fit_temperature(val["label"].to_numpy(), val["score"].to_numpy()) if len(val) else math.nan
    test = scored[scored["split"] == "test"].drop(columns=["split", "origin"])
    threshold = facts["thresholds"]["val_f1"]
    if "evaluated_run" not in facts and val["label"].any():  # not the one that 0.1.0 chose on copies too
        threshold = best_f1_threshold(val["label"].to_numpy(), val["score"].to_numpy())
    test = test.assign(tempered=apply_temperature(test["score"].to_numpy(), temperature), threshold=threshold)
    return Run(
        folder=run_dir.relative_to(root).as_posix(),
        config=read_config(run_dir),
        facts=facts,
        timing=optional("timing.json"),
        environment=optional("environment.json"),
        test=test.sort_values("image_id", ignore_index=True),
        who_sha256=sha256_of_table(whose),
        temperature=temperature,
        val_auc=binary_auc(val["label"].to_numpy(), val["score"].to_numpy()),
    )


def gather_experiments(runs: Iterable[Run]) -> tuple[list[Experiment], list[str]]:
    """Return the experiments of the runs, and a line for each run that is left out, and why."""
    groups: dict[str, dict[int, dict[int, Run]]] = {}
    kept, left_out = _without_rescored(list(runs))
    for run in kept:
        folds = groups.setdefault(_identity(run), {}).setdefault(run.config["seed"], {})
        fold = run.config["split"].get("fold", 0)
        if fold in folds:
            left_out.append(f"the same experiment as {folds[fold].folder} again: {run.folder}")
        else:
            folds[fold] = run
    experiments = []
    for by_seed in groups.values():
        whole = {}
        for seed, folds in sorted(by_seed.items()):
            of_split = next(iter(folds.values())).config["split"]
            if sorted(folds) == list(range(of_split.get("folds", 1))):
                whole[seed] = [folds[fold] for fold in sorted(folds)]
            else:
                present = ", ".join(map(str, sorted(folds)))
                name = next(iter(folds.values())).folder
                left_out.append(f"{name} and its folds: only {present} of {of_split['folds']} are finished")
        for seed in _tested_on_others(whole):
            left_out.append(
                f"other test images than {next(iter(whole.values()))[0].folder}: {whole.pop(seed)[0].folder}"
            )
        if whole:
            experiments.append(_experiment(whole))
    return experiments, left_out


def _tested_on_others(by_seed: Mapping[int, Sequence[Run]]) -> list[int]:
    """Return the seeds tested on other images than the first; only an edit of files without digests makes that."""
    tested = {seed: _pooled(runs)[["image_id", "label"]].to_numpy().tolist() for seed, runs in by_seed.items()}
    return [seed for seed, images in tested.items() if images != next(iter(tested.values()))]


def _without_rescored(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs but for evaluations of a trained one on its own test images, and a line for each of these."""

    def tested(run: Run, weights_sha256: object) -> tuple[str, str]:
        return str(weights_sha256), run.test[["image_id", "label"]].to_csv(index=False)

    trained = {
        tested(run, run.environment.get("weights", {}).get("sha256")): run.folder
        for run in runs
        if "evaluated_run" not in run.facts
    }
    again = {
        run.folder: trained[key]
        for run in runs
        if "evaluated_run" in run.facts and (key := tested(run, run.facts["weights_sha256"])) in trained
    }
    lines = [f"scores the test images of {of} again: {folder}" for folder, of in again.items()]
    return [run for run in runs if run.folder not in again], lines


def _experiment(by_seed: Mapping[int, Sequence[Run]]) -> Experiment:
    repeats = [list(runs) for runs in by_seed.values()]
    tables = [_pooled(runs) for runs in repeats]
    first = tables[0]
    for table in tables[1:]:
        assert table["image_id"].tolist() == first["image_id"].tolist(), "the data's hash is part of the identity"
    scored = build_scored(
        first["label"].to_numpy(),
        np.stack([table["score"].to_numpy() for table in tables]),
        first["patient_id"].to_numpy(),
        threshold=float(repeats[0][0].facts["thresholds"]["fixed"]),
        folds=first["fold"].to_numpy(),
    )
    facts = repeats[0][0].facts
    columns = ["image_id", "label", *(["fold"] if len(repeats[0]) > 1 else [])]
    images = first[columns].to_csv(index=False) + facts.get("cohort_sha256", facts["data_sha256"])
    test_set = hashlib.sha256(images.encode()).hexdigest()[:8]
    who = first.drop(columns=["score", "tempered", "threshold", "fold"])
    return Experiment(
        repeats,
        list(by_seed),
        test_set,
        scored,
        estimates(scored),
        estimates(scored, training=False),
        number=1,
        images=who,
    )


def _pooled(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the test images of the folds of one repeat, with the number of their fold."""
    parts = [run.test.assign(fold=fold) for fold, run in enumerate(runs)]
    return pd.concat(parts).sort_values("image_id", ignore_index=True)


def _identity(run: Run) -> str:
    """Return what two repeats of an experiment have in common: all settings but the seed, the data, and the weights.

    Weights that are evaluated belong to one run: the evaluation of another's is another experiment.
    """
    settings = {key: value for key, value in run.settings.items() if key not in NOT_OF_THE_EXPERIMENT}
    is_fold = "fold" in run.config["split"]
    settings["data"] = run.facts["cohort_sha256"] if is_fold else run.facts["data_sha256"]
    settings["weights"] = run.facts["weights_sha256"]
    settings["initial"] = run.facts["initialisation"]
    return json.dumps(settings, sort_keys=True)

"""Experiments: runs that repeat one another, brought together. Never imports torch.

Runs that differ only in their seed are repeats of one experiment. The folds of a cross-validation are one repeat once
all of them are finished: their test images are pooled.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.intervals import Estimate, estimates
from dxa_tbs.evaluation.measured import Scored, build_scored
from dxa_tbs.report.paper import is_papers_experiment
from dxa_tbs.report.patients import knows_patients
from dxa_tbs.report.runs import Run

UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OSError, ArithmeticError)  # what a damaged run raises


@dataclass(frozen=True)
class Experiment:
    """Repeats of one experiment on one test set.

    Attributes:
        repeats: one per seed; each holds the runs of its folds, usually one.
        seeds: one per repeat.
        test_set: digest of the test images, their labels and folds; equal only for experiments that share all of them.
        estimates: mean over repeats of each metric at the fixed threshold. The interval is over other patients and,
            where several seeds or folds show it, over other trainings.
        of_these_networks: the same with intervals over other patients alone.
        number: counts the experiments that are otherwise called the same, from 1.
        images: of the test set, in the order of `scored`: image_id, patient_id, label, tbs, subgroup columns.
        set_name: name of the test set if the report has several; else empty.
        apart: in which settings it differs from others of its network and approach, in words; empty if in none.
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
    apart: str = ""

    @property
    def runs(self) -> list[Run]:
        return [run for runs in self.repeats for run in runs]

    @property
    def first(self) -> Run:
        return self.repeats[0][0]

    @property
    def control(self) -> str:
        """Return what makes this a control: meaningless labels, or parts of the images; empty for an experiment."""
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
        """Return a column of the runs' test images, shape (S, N), in the order of `scored`."""
        return np.stack([_pooled(runs)[column].to_numpy() for runs in self.repeats])

    @property
    def approach(self) -> str:
        return str(self.first.config["approach"]["name"])

    @property
    def model(self) -> str:
        return str(self.first.config["model"]["name"])

    @property
    def is_evaluation(self) -> bool:
        """Return whether this is a finished run's network, tested on other images."""
        return "evaluated_run" in self.first.facts

    @property
    def is_papers(self) -> bool:
        return is_papers_experiment(self.approach, self.first.config["model"])

    @property
    def auc_of_each(self) -> list[float]:
        """Return the AUC of each repeat; in a cross-validation, the mean over its folds."""
        if not self.scored.has_both_classes:
            return [math.nan] * len(self.seeds)
        return [float(auc) for auc in self.scored.auc.of_each]

    @property
    def num_trainings(self) -> int:
        """Return how many trainings each number rests on: the number of seeds, or of folds."""
        return max(len(self.seeds), self.scored.num_folds)

    @property
    def folder(self) -> str:
        return self.first.folder

    @property
    def times_s(self) -> np.ndarray:
        """Return the times of ten epochs on the first run's device, without runs that read cached features."""
        alike = [run for run in self.runs if run.environment.get("device") == self.first.environment.get("device")]
        times = [run.timing.get("time_10_epochs_s") for run in alike if not run.timing.get("features_from_cache")]
        return np.array([time for time in times if time is not None], float)


def gather_experiments(runs: Iterable[Run]) -> tuple[list[Experiment], list[str]]:
    """Return the experiments of the runs, and a line for each run that is left out, and why."""
    kept, again = _without_rescored(list(runs))
    groups, twins = _by_experiment(kept)
    experiments, left_out = [], again + twins
    for by_seed in groups:
        whole, incomplete = _whole_repeats(by_seed)
        left_out += incomplete
        first = next(iter(whole.values()), None)
        for seed in _tested_on_others(whole):
            assert first is not None
            left_out.append(f"other test images than {first[0].folder}: {whole.pop(seed)[0].folder}")
        if first is None:
            continue
        try:
            experiments.append(_experiment(whole))
        except UNREADABLE as error:
            reason = f"cannot be scored ({type(error).__name__}: {error})"
            left_out += [f"{reason}: {run.folder}" for repeat in whole.values() for run in repeat]
    return experiments, left_out


def _by_experiment(runs: Sequence[Run]) -> tuple[list[dict[int, dict[int, Run]]], list[str]]:
    """Return the runs of each experiment by seed and fold, and a line for each that is there twice."""
    groups: dict[str, dict[int, dict[int, Run]]] = {}
    twins = []
    for run in runs:
        folds = groups.setdefault(run.identity, {}).setdefault(run.config["seed"], {})
        fold = run.config["split"].get("fold", 0)
        if fold in folds:
            twins.append(f"the same experiment as {folds[fold].folder} again: {run.folder}")
        else:
            folds[fold] = run
    return list(groups.values()), twins


def _whole_repeats(by_seed: Mapping[int, Mapping[int, Run]]) -> tuple[dict[int, list[Run]], list[str]]:
    """Return the repeats all of whose folds are finished, and a line for each of the others."""
    whole, incomplete = {}, []
    for seed, folds in sorted(by_seed.items()):
        first = next(iter(folds.values()))
        of_split = first.config["split"]
        if sorted(folds) == list(range(of_split.get("folds", 1))):
            whole[seed] = [folds[fold] for fold in sorted(folds)]
        else:
            present = ", ".join(map(str, sorted(folds)))
            are = "is" if len(folds) == 1 else "are"
            incomplete.append(f"{first.folder} and its folds: only {present} of {of_split['folds']} {are} finished")
    return whole, incomplete


def _tested_on_others(by_seed: Mapping[int, Sequence[Run]]) -> list[int]:
    """Return the seeds tested on other images than the first; only edited files without digests lead to that."""
    tested = {seed: _pooled(runs)[["image_id", "label"]].to_numpy().tolist() for seed, runs in by_seed.items()}
    return [seed for seed, images in tested.items() if images != next(iter(tested.values()))]


def _without_rescored(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs without evaluations of a trained one on its own test images, and a line for each of these."""

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
    first, facts = tables[0], repeats[0][0].facts
    for table in tables[1:]:
        assert table["image_id"].tolist() == first["image_id"].tolist(), "the data's hash is part of the identity"
    scored = build_scored(
        first["label"].to_numpy(),
        np.stack([table["score"].to_numpy() for table in tables]),
        first["patient_id"].to_numpy(),
        threshold=float(facts["thresholds"]["fixed"]),
        folds=first["fold"].to_numpy(),
    )
    columns = ["image_id", "label", *(["fold"] if len(repeats[0]) > 1 else [])]
    images = first[columns].to_csv(index=False) + facts.get("cohort_sha256", facts["data_sha256"])
    return Experiment(
        repeats,
        list(by_seed),
        hashlib.sha256(images.encode()).hexdigest()[:8],
        scored,
        estimates(scored),
        estimates(scored, training=False),
        number=1,
        images=first.drop(columns=["score", "tempered", "threshold", "fold"]),
    )


def _pooled(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the test images of the folds of one repeat, with the number of their fold."""
    parts = [run.test.assign(fold=fold) for fold, run in enumerate(runs)]
    return pd.concat(parts).sort_values("image_id", ignore_index=True)

"""Splits: the experiments on each, with the baselines and controls to hold them against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dxa_tbs.evaluation.measured import Scored
from dxa_tbs.report.experiments import UNREADABLE, Experiment
from dxa_tbs.report.numbers.baselines import NO_BASELINES, fit_baselines


@dataclass(frozen=True)
class SplitResults:
    """The experiments trained and tested on one split of the same images.

    Attributes:
        controls: experiments with permuted labels or parts of the images, on the same patients.
        baselines: by name, scored on the same test images.
        primary_run: folder of the experiment whose comparison with the slope is the primary one; else empty.
    """

    experiments: list[Experiment]
    controls: list[Experiment]
    baselines: dict[str, Scored]
    primary_run: str = ""

    @property
    def name(self) -> str:
        """Return the name of the test set, or its digest."""
        return self.experiments[0].set_name or self.experiments[0].test_set


def find_splits(
    experiments: Sequence[Experiment], controls: Sequence[Experiment], root: Path
) -> tuple[list[SplitResults], list[str]]:
    """Group experiments by split, each with its baselines and controls.

    Returns:
        The splits, and a line for each control or set of baselines that could not be placed or fitted.
    """
    by_split: dict[tuple[str, ...], list[Experiment]] = {}
    for one in experiments:
        by_split.setdefault(_split_of(one), []).append(one)
    splits, lacking = [], []
    for members in by_split.values():
        beside = [control for control in controls if _patients_of(control) == _patients_of(members[0])]
        baselines, problems = _first_baselines(members, root)
        splits.append(SplitResults(members, beside, baselines))
        lacking += problems
    placed = {one.folder for split in splits for one in split.controls}
    lacking += [
        f"a control without an experiment on the same images and split: {control.folder}"
        for control in controls
        if control.folder not in placed
    ]
    lacking += [
        f"no baselines and no controls: {NO_BASELINES}: test set {split.name}"
        for split in splits
        if not split.baselines and not split.controls
    ]
    return splits, lacking


def _first_baselines(members: Sequence[Experiment], root: Path) -> tuple[dict[str, Scored], list[str]]:
    """Return the baselines from the first experiment that has what they are fitted on."""
    problems: list[str] = []
    for one in members:
        try:
            if found := fit_baselines(one, root):
                return found, problems
        except (*UNREADABLE, Warning) as error:
            problems.append(f"no baselines from {one.folder}: {type(error).__name__}: {error}")
    return {}, problems


def _split_of(experiment: Experiment) -> tuple[str, ...]:
    return (*(str(run.facts["data_sha256"]) for run in experiment.repeats[0]), _preprocessing(experiment))


def _patients_of(experiment: Experiment) -> tuple[str, ...]:
    """Return what an experiment shares with its controls: patients, split and preprocessing, but not the labels."""
    dataset = str(experiment.first.config["dataset"]["name"])
    return (*(run.patients_sha256 for run in experiment.repeats[0]), dataset, _preprocessing(experiment))


def _preprocessing(experiment: Experiment) -> str:
    return str({key: value for key, value in experiment.first.config["preprocessing"].items() if key != "region"})

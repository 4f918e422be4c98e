"""How results vary over trainings, and whether an interval covers other trainings or other patients alone."""

from __future__ import annotations

import numpy as np

from dxa_tbs.report.documents import number
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.labels import sampling_units

FAILED_AUC = 0.55  # up to this test AUC a training has hardly learned, or was tested on few images


def what_it_covers(*experiments: Experiment) -> str:
    """Return a sentence on what the interval or the difference of these experiments covers."""
    fewest = min(experiments, key=lambda one: one.num_trainings)
    units = sampling_units(experiments)
    num_folds, num_seeds = fewest.scored.num_folds, len(fewest.seeds)
    if fewest.num_trainings == 1:
        return f"This one training, other {units}: nothing here says that one architecture is better than another."
    trained = f"{num_seeds} seeds" if num_folds == 1 else f"{num_folds} folds, each trained anew"
    trained += f" with {num_seeds} seeds" if num_folds > 1 and num_seeds > 1 else ""
    if fewest.num_trainings == 2:
        return f"Other {units} and other trainings, with hardly any power and with rough limits: {trained}."
    return f"Other {units} and other trainings: {trained}."


def auc_of_trainings(one: Experiment) -> list[str]:
    """Return sentences on how the AUC varies over the trainings of an experiment; none if it has one training."""
    if not one.scored.has_both_classes or one.num_trainings == 1:
        return []
    over, aucs = "seeds", np.array(one.auc_of_each)
    if len(aucs) == 1:
        over, aucs = "folds", one.scored.auc.of_trainings[0]
    each = ", ".join(number(float(auc)) for auc in aucs)
    found = [f"AUC of its {over}: {each} (SD {number(float(aucs.std(ddof=1)))})."]
    return [*found, f"{text}."] if (text := describe_failures(one)) else found


def describe_failures(one: Experiment) -> str:
    """Return how many trainings ended near chance on their test images, and what follows; empty if none did."""
    count = count_failed(one)
    if count == 0:
        return ""
    if one.num_trainings == 1:
        return (
            f"its one training ended with a test AUC of {FAILED_AUC:g} or less; "
            "nothing tells how often another training would fail"
        )
    return (
        f"{count} of {one.scored.auc.of_trainings.size} trainings ended with a test AUC of {FAILED_AUC:g} or less; "
        "every mean counts them, and no interval tells how often another training would fail"
    )


def sd_of_auc(one: Experiment) -> float:
    """Return the standard deviation of the AUC over seeds, NaN for one seed."""
    aucs = np.array(one.auc_of_each)
    return float(aucs.std(ddof=1)) if len(aucs) > 1 else float("nan")


def count_failed(one: Experiment) -> int:
    """Return how many trainings, of all seeds and folds, ended near chance on their test images."""
    return int((one.scored.auc.of_trainings <= FAILED_AUC).sum()) if one.scored.has_both_classes else 0

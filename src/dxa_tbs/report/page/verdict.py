"""The answer in a few sentences: which network, how sure, against which baseline, on what data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.intervals import Estimate
from dxa_tbs.evaluation.measured import count_patients
from dxa_tbs.report.documents import between, number, p_value, with_interval
from dxa_tbs.report.footnotes import legend, marks_of, title, units_of
from dxa_tbs.report.numbers.baselines import ALPHA, SLOPE, Ground, against_slope
from dxa_tbs.report.numbers.trainings import scope, trainings
from dxa_tbs.report.runs import Experiment


def choose(experiments: Sequence[Experiment]) -> Experiment:
    """Return the experiment with the highest AUC on validation, so that its test figure is not the best of many.

    Evaluations of other runs' weights have no validation; among them, the first.
    """
    return max(experiments, key=lambda one: np.nan_to_num(one.val_auc, nan=-1))


FEW = 10  # patients of a class, below which asymptotic intervals are no guide


def verdict(ground: Ground, compared: pd.DataFrame) -> list[str]:
    """Return the sentences for one ground, the most important first.

    Args:
        compared: as `comparisons.comparisons` returns it.
    """
    one = choose(ground.experiments)
    config = one.first.config
    data = f"Data: {config['dataset']['name']}, split {config['split']['name']}; test set {one.test_set}."
    sentences = [
        scope(one),
        *trainings(one),
        _how_sure(one),
        _which(one, ground),
        _against_slope(one, ground),
        *_against_others(one, compared),
        data,
    ]
    return [_lead(one), *_unknown_patients(one), *_too_few(one), *sentences, *_marks(one)]


def _lead(one: Experiment) -> str:
    auc, alone = one.estimates["auc"], one.of_these_networks["auc"]
    text = f"{title(one)}: AUC {with_interval(auc)}"
    if one.num_trainings > 1 and not math.isnan(alone.low) and with_interval(alone) != with_interval(auc):
        text += f"; these trained networks only: {between(alone.low, alone.high)}"
    return f"{text}."


def _how_sure(one: Experiment) -> str:
    labels = one.scored.labels
    names = {"sensitivity": "sensitivity", "specificity": "specificity", "f1": "F1-score"}
    metrics = ", ".join(f"{name} {with_interval(one.estimates[metric])}" for metric, name in names.items())
    seeds = f", mean of {len(one.seeds)} seeds" if len(one.seeds) > 1 else ""
    patients = f" of {len(np.unique(one.scored.patients))} patients" if one.knows_patients else ""
    threshold = f"{one.first.facts['thresholds']['fixed']:g}"
    return (
        f"On {len(labels)} test images ({int(labels.sum())} Degraded){patients}{seeds}; "
        f"at threshold {threshold}: {metrics} (95 % intervals)."
    )


def _too_few(one: Experiment) -> list[str]:
    fewest = min(count_patients(one.scored, label) for label in (1, 0))
    if fewest >= FEW:
        return []
    return [f"Only {fewest} test {units_of([one])} of one class: intervals and tests below are rough with so few."]


def _unknown_patients(one: Experiment) -> list[str]:
    if one.knows_patients:
        return []
    return [
        "Nobody said which images belong to one patient: if patients have several, some may be on two sides of the "
        "split, and intervals and tests are too sure."
    ]


def _which(one: Experiment, ground: Ground) -> str:
    if len(ground.experiments) == 1:
        return "It is the only experiment on this split."
    if math.isnan(one.val_auc):
        return (
            f"It is the first of {len(ground.experiments)} evaluations of trained networks: none has a validation set."
        )
    best = max(ground.experiments, key=lambda other: np.nan_to_num(other.estimates["auc"].value, nan=-1))
    text = f"It has the highest AUC on validation ({one.val_auc:.3f}) of {len(ground.experiments)} experiments"
    if best is one:
        return f"{text}, and on the test images too."
    return (
        f"{text}. On the test images {title(best)} has the highest ({number(best.estimates['auc'].value)}), which, "
        "chosen after the fact, flatters it."
    )


def _against_slope(one: Experiment, ground: Ground) -> str:
    if SLOPE not in ground.baselines:
        return "No baseline to hold it against: no run of this split has both training images and measures.csv."
    frame = against_slope(ground).set_index("run")
    row = frame.loc[one.folder]
    difference = with_interval(Estimate(row["difference"], row["low"], row["high"], row["test"]))
    is_apart = row["p_holm"] < ALPHA
    corrected = "" if one.folder == ground.primary_run else " after Holm"
    subject = "This trained network" if one.num_trainings == 1 else "It"
    answer = "beats that." if row["beats"] else "is worse than that." if is_apart else "is not shown to beat that."
    answer = f"{subject} {answer}"
    if not math.isnan(row["can_show"]):
        answer += (
            " With 80 % power and without correction, these images and trainings show a difference from the slope of "
            f"about {row['can_show']:.3f}."
        )
    return (
        f"Logistic regression on the slope of the variogram alone reaches an AUC of {number(row['auc_of_slope'])} on "
        f"the same images; network less slope: {difference}, {p_value(row['p_holm'])}{corrected}. {answer}"
    )


def _against_others(one: Experiment, compared: pd.DataFrame) -> list[str]:
    if compared.empty:  # and has no columns
        return []
    is_mine = (compared["first_run"] == one.folder) | (compared["second_run"] == one.folder)
    mine = compared[is_mine & (compared["metric"] == "auc") & ~compared["is_primary"]]
    if mine.empty:
        return []
    num_apart = int((mine["p_holm"] < ALPHA).sum())
    others = f"the {len(mine)} others" if len(mine) > 1 else "the other"
    text = f"No difference in AUC from {others} is shown (no p below {ALPHA:g} after Holm)"
    if num_apart:
        text = f"Its AUC differs from that of {num_apart} of {others} (p below {ALPHA:g} after Holm)"
    num_single = int((mine["trainings"] == 1).sum())
    if num_single:
        of_pairs = "each" if num_single == len(mine) else str(num_single)
        text += f"; in {of_pairs} of these pairs one trained network is compared with another"
    return [f"{text}."]


def _marks(one: Experiment) -> list[str]:
    letters = marks_of(one)
    return [f"{legend(letters)}."] if letters else []

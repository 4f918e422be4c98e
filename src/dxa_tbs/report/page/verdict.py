"""Verdict: which network is best, how certain that is, against which baseline, and on what data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.intervals import Estimate
from dxa_tbs.evaluation.measured import count_patients
from dxa_tbs.report.documents import between, number, p_value, with_interval
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain_marks
from dxa_tbs.report.labels import label, sampling_units
from dxa_tbs.report.numbers.against_slope import against_slope
from dxa_tbs.report.numbers.baselines import ALPHA, SLOPE
from dxa_tbs.report.numbers.splits import SplitResults
from dxa_tbs.report.numbers.trainings import auc_of_trainings, what_it_covers


def choose(experiments: Sequence[Experiment]) -> Experiment:
    """Return the experiment with the highest AUC on validation.

    Its test figure is therefore not the best of many. Evaluations of trained networks have no validation set: of them,
    the first is returned.
    """
    return max(experiments, key=lambda one: np.nan_to_num(one.val_auc, nan=-1))


FEW = 10  # with fewer patients of a class, asymptotic intervals are rough


def verdict(split: SplitResults, compared: pd.DataFrame) -> list[str]:
    """Return sentences on one split, the most important first.

    Args:
        compared: as `comparisons.compare_all` returns it.
    """
    one = choose(split.experiments)
    config = one.first.config
    data = f"Data: {config['dataset']['name']}, split {config['split']['name']}; test set {one.test_set}."
    sentences = [
        what_it_covers(one),
        *auc_of_trainings(one),
        _how_sure(one),
        _which(one, split),
        _against_slope(one, split),
        *_against_others(one, compared),
        data,
    ]
    return [_lead(one), *_unknown_patients(one), *_too_few(one), *sentences, *explain_marks([one])]


def _lead(one: Experiment) -> str:
    auc, alone = one.estimates["auc"], one.of_these_networks["auc"]
    text = f"{label(one)}: AUC {with_interval(auc)}"
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
    return [
        f"Only {fewest} test {sampling_units([one])} of one class: intervals and tests below are rough with so few."
    ]


def _unknown_patients(one: Experiment) -> list[str]:
    if one.knows_patients:
        return []
    return [
        "It is not known which images belong to one patient. If patients have several images, some may be on two sides "
        "of the split, and intervals and tests are too optimistic."
    ]


def _which(one: Experiment, split: SplitResults) -> str:
    if len(split.experiments) == 1:
        return "It is the only experiment on this split with this preprocessing."
    if math.isnan(one.val_auc):
        return (
            f"It is the first of {len(split.experiments)} evaluations of trained networks; none has a validation set."
        )
    best = max(split.experiments, key=lambda other: np.nan_to_num(other.estimates["auc"].value, nan=-1))
    text = f"It has the highest AUC on validation ({one.val_auc:.3f}) of {len(split.experiments)} experiments"
    if best is one:
        return f"{text}, and on the test images too."
    return (
        f"{text}. On the test images {label(best)} has the highest ({number(best.estimates['auc'].value)}); "
        "choosing it after the fact would flatter it."
    )


def _against_slope(one: Experiment, split: SplitResults) -> str:
    if SLOPE not in split.baselines:
        return (
            "There is no baseline to compare it with: no run of this split has both training images and measures.csv."
        )
    frame = against_slope(split).set_index("run")
    row = frame.loc[one.folder]
    difference = with_interval(Estimate(row["difference"], row["low"], row["high"], row["test"]))
    is_apart = row["p_holm"] < ALPHA
    corrected = "" if one.folder == split.primary_run else " after Holm"
    subject = "This trained network" if one.num_trainings == 1 else "It"
    answer = "beats that." if row["beats"] else "is worse than that." if is_apart else "is not shown to beat that."
    answer = f"{subject} {answer}"
    if not math.isnan(row["can_show"]):
        answer += (
            " With 80 % power and without correction, these images and trainings would show a difference from the "
            f"slope of about {row['can_show']:.3f}."
        )
    return (
        f"Logistic regression on the slope of the variogram alone has an AUC of {number(row['auc_of_slope'])} on "
        f"the same images; network minus slope: {difference}, {p_value(row['p_holm'])}{corrected}. {answer}"
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

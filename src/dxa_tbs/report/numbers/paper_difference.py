"""The paper's printed results with intervals from their counts, and the difference of ours from them."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from dxa_tbs.evaluation.auc import auc_limits, hanley_mcneil
from dxa_tbs.evaluation.comparisons import subtract_independent
from dxa_tbs.evaluation.intervals import Estimate, estimates, no_interval
from dxa_tbs.evaluation.measured import build_scored
from dxa_tbs.evaluation.variance import Variance
from dxa_tbs.report.paper import PrintedRow

OF_CLASS = {"tp": 1, "fn": 1, "fp": 0, "tn": 0}


def printed_estimates(row: PrintedRow) -> dict[str, Estimate]:
    """Return what the paper prints for an experiment, by field, with intervals from its counts of test images.

    The paper trained each network once. Its intervals therefore leave out how much another training would differ. The
    AUC is under `auc` if it is that of the scores, else under `auc_hard`.
    """
    values = dataclasses.asdict(row)
    printed_auc = values.pop("auc")
    limits = _from_counts(row.tp, row.fp, row.tn, row.fn)
    found = {name: no_interval(float(value)) for name, value in values.items()}
    for name in ("accuracy", "sensitivity", "specificity", "f1"):
        found[name] = dataclasses.replace(limits[name], value=values[name])
    if row.auc_is_hard:
        return found | {"auc_hard": dataclasses.replace(limits["auc_hard"], value=printed_auc)}
    num_positive, num_negative = row.tp + row.fn, row.fp + row.tn
    low, high, method = auc_limits(
        printed_auc,
        Variance(hanley_mcneil(printed_auc, num_positive, num_negative), math.inf),
        num_positive=num_positive,
        num_negative=num_negative,
        misplaced=0,  # not printed: the method that does without the scores
    )
    return found | {"auc": Estimate(printed_auc, low, high, method)}


def subtract_printed(metric: str, ours: Estimate, printed: Estimate, labels: np.ndarray, row: PrintedRow) -> Estimate:
    """Return ours minus the paper's with the interval of two independent samples.

    Counts are subtracted only if as many images of that class were tested as in the paper; else the result is NaN.

    Args:
        labels: of our test images, shape (N,).
    """
    if metric not in OF_CLASS:
        return subtract_independent(ours, printed)
    of_paper = row.tp + row.fn if OF_CLASS[metric] else row.fp + row.tn
    is_alike = int((labels == OF_CLASS[metric]).sum()) == of_paper
    return no_interval(ours.value - printed.value if is_alike else math.nan)


@functools.cache
def _from_counts(tp: int, fp: int, tn: int, fn: int) -> dict[str, Estimate]:
    labels, calls = np.repeat([1, 0, 0, 1], [tp, fp, tn, fn]), np.repeat([1.0, 1.0, 0.0, 0.0], [tp, fp, tn, fn])
    return estimates(build_scored(labels, calls[None], np.arange(len(labels)), threshold=0.5))

"""Metrics of calls, from counts or from sensitivity and specificity. Numpy in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

PROPORTIONS = ("accuracy", "sensitivity", "specificity")
METRICS = (*PROPORTIONS, "precision", "f1", "auc_hard", "mcc")  # auc_hard is balanced accuracy


def counts(labels: np.ndarray, calls: np.ndarray) -> dict[str, np.ndarray]:
    """Return tp, fp, tn, fn of each repeat, (S,), for labels (N,) and calls (S, N)."""
    cells = {"tp": calls & (labels == 1), "fp": calls & (labels == 0)}
    cells |= {"tn": ~calls & (labels == 0), "fn": ~calls & (labels == 1)}
    return {name: cell.sum(axis=1).astype(float) for name, cell in cells.items()}


def metrics_of_counts(cells: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return METRICS of tp, fp, tn, fn, element by element; NaN where a metric is not defined."""
    tp, fp, tn, fn = (cells[name] for name in ("tp", "fp", "tn", "fn"))
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        margins = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return {
            "accuracy": (tp + tn) / (tp + fp + tn + fn),
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": tp / (tp + fp),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "auc_hard": (sensitivity + specificity) / 2,
            "mcc": np.where(margins == 0, 0.0, (tp * tn - fp * fn) / margins),
        }


# Each function below takes sensitivity, specificity and `ratio`, the number of negatives per positive.
Rate: TypeAlias = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _accuracy(sensitivity: np.ndarray, specificity: np.ndarray, ratio: float) -> np.ndarray:
    return np.asarray((sensitivity + ratio * specificity) / (1 + ratio))


def _precision(sensitivity: np.ndarray, specificity: np.ndarray, ratio: float) -> np.ndarray:
    called = np.asarray(sensitivity + ratio * (1 - specificity))
    return np.asarray(np.divide(sensitivity, called, out=np.full(called.shape, np.nan), where=called > 0))


def _f1(sensitivity: np.ndarray, specificity: np.ndarray, ratio: float) -> np.ndarray:
    return np.asarray(2 * sensitivity / (sensitivity + 1 + ratio * (1 - specificity)))


def _mcc(sensitivity: np.ndarray, specificity: np.ndarray, ratio: float) -> np.ndarray:
    share = 1 / (1 + ratio)
    called = np.asarray(share * sensitivity + (1 - share) * (1 - specificity))
    spread = np.sqrt(called * (1 - called))
    lift = (sensitivity + specificity - 1) * np.sqrt(share * (1 - share))
    return np.asarray(np.divide(lift, spread, out=np.zeros(called.shape), where=spread > 0))


RATES: dict[str, Rate] = {
    "accuracy": _accuracy,
    "sensitivity": lambda sensitivity, specificity, ratio: sensitivity,
    "specificity": lambda sensitivity, specificity, ratio: specificity,
    "precision": _precision,
    "negative_precision": lambda sensitivity, specificity, ratio: _precision(specificity, sensitivity, 1 / ratio),
    "f1": _f1,
    "auc_hard": lambda sensitivity, specificity, ratio: (sensitivity + specificity) / 2,
    "mcc": _mcc,
}
LEAST = {"mcc": -1.0}  # smallest possible value of a metric; all others: 0
STEP = 1e-6  # of the finite differences in `slopes`


def slopes(
    metric: str, sensitivity: np.ndarray, specificity: np.ndarray, ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of a metric with respect to sensitivity and specificity, each of the inputs' shape.

    Computed by central differences; one-sided at the ends of [0, 1].
    """
    rate = RATES[metric]
    left, right = (np.clip(sensitivity + side * STEP, 0, 1) for side in (-1, 1))
    below, above = (np.clip(specificity + side * STEP, 0, 1) for side in (-1, 1))
    return (
        (rate(right, specificity, ratio) - rate(left, specificity, ratio)) / (right - left),
        (rate(sensitivity, above, ratio) - rate(sensitivity, below, ratio)) / (above - below),
    )

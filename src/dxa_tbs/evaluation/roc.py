"""ROC curves with a band. Numpy in, numbers out."""

from __future__ import annotations

import numpy as np
from sklearn import metrics

from dxa_tbs.evaluation.intervals import CONFIDENCE

GRID = np.linspace(0, 1, 101)  # false positive rates


def roc_band(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sensitivity at GRID, mean over repeats, and the bounds of its pointwise 95 % bootstrap band.

    Args:
        labels: shape (N,), 0 or 1, both present.
        scores: shape (S, N).
        weights: shape (R, N), how often each image occurs in each resample (`intervals.bootstrap_weights`).
    """
    curves = []
    for row in scores:
        false_positive, sensitivity, _ = metrics.roc_curve(labels, row)
        curves.append(np.interp(GRID, false_positive, sensitivity))
    resampled = np.zeros((len(weights), len(GRID)))
    for row in scores:
        order = np.argsort(-row, kind="stable")
        last_of_ties = np.append(np.diff(row[order]) != 0, True)
        positive, negative = (
            (weights[:, order] * (labels[order] == kind)).cumsum(axis=1)[:, last_of_ties] for kind in (1, 0)
        )
        for number in range(len(weights)):
            rates = negative[number] / negative[number, -1], positive[number] / positive[number, -1]
            resampled[number] += np.interp(GRID, np.append(0, rates[0]), np.append(0, rates[1])) / len(scores)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return np.mean(curves, axis=0), low, high

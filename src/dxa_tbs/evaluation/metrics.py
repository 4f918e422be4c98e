"""Metrics of scores against labels; the positive class is Degraded. Numpy in, numbers out."""

from __future__ import annotations

import math

import numpy as np
from sklearn import metrics


def binary_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve; NaN if a class is missing. Ties between classes count one half.

    Args:
        labels: shape (N,), 0 or 1.
        scores: shape (N,), any monotone scale; higher means more likely positive.

    Source: Hanley and McNeil, Radiology 143:29-36 (1982), as implemented in scikit-learn.
    """
    if len(np.unique(labels)) < 2:
        return math.nan
    return float(metrics.roc_auc_score(labels, scores))


def binary_metrics(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float | int]:
    """Return counts and metrics; scores at or above `threshold` are called positive. Undefined metrics are NaN.

    `auc` is computed from the scores. `auc_hard` is computed from the calls and equals (sensitivity + specificity) / 2;
    the paper printed it in Table IV and in part of Table III.

    Args:
        labels: shape (N,), 0 or 1.
        scores: shape (N,), in [0, 1].
    """
    calls = (scores >= threshold).astype(int)
    tn, fp, fn, tp = (int(count) for count in metrics.confusion_matrix(labels, calls, labels=[0, 1]).ravel())
    return {
        "tp": tp,
        "fp": fp,
        "tn": tn,
        "fn": fn,
        "accuracy": float(metrics.accuracy_score(labels, calls)),
        "sensitivity": float(metrics.recall_score(labels, calls, zero_division=math.nan)),
        "specificity": float(metrics.recall_score(labels, calls, pos_label=0, zero_division=math.nan)),
        "precision": float(metrics.precision_score(labels, calls, zero_division=math.nan)),
        "f1": float(metrics.f1_score(labels, calls, zero_division=math.nan)),
        "auc": binary_auc(labels, scores),
        "auc_hard": binary_auc(labels, calls),
    }


def best_f1_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the threshold with the highest F1; among equals, the one nearest to 0.5. Use it on validation only.

    Args:
        labels: shape (N,), 0 or 1; at least one 1.
        scores: shape (N,), in [0, 1].
    """
    precision, recall, thresholds = metrics.precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
    best = thresholds[f1 == f1.max()]
    return float(best[np.argmin(np.abs(best - 0.5))])


def score_warnings(scores: np.ndarray, *, threshold: float, split: str) -> list[str]:
    """Return warnings about the scores of a split: all equal, or all on one side of the threshold."""
    if np.ptp(scores) < 1e-6:
        return [f"constant outputs: every {split} image scores {scores[0]:.6f}: the network has learnt nothing"]
    calls = scores >= threshold
    if calls.all() or not calls.any():
        side = "Degraded" if calls.all() else "Normal"
        return [f"one-class predictions: every {split} image is called {side} at {threshold:g}; look at the AUC"]
    return []

"""What acting on the scores would bring: net benefit. Numpy in, numbers out."""

from __future__ import annotations

import numpy as np

from dxa_tbs.evaluation.intervals import Estimate, mean_interval


def net_benefit(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, threshold: float) -> Estimate:
    """Return the net benefit of calling Degraded at or above a threshold, mean over repeats, with its interval.

    True positives per image, less false positives weighted by the odds of the threshold. Calling nobody has 0.

    Args:
        labels: shape (N,), 0 or 1.
        scores: shape (S, N), calibrated probabilities of S repeats.
        patients: shape (N,), integers from 0.
        threshold: above 0 and below 1: the risk from which one would act.

    Source: Vickers and Elkin, Med Decis Making 26:565 (2006).
    """
    worth = np.where(labels == 1, 1.0, -threshold / (1 - threshold))
    gained = (scores >= threshold) * worth
    return mean_interval(gained.mean(axis=1), gained.mean(axis=0) / len(labels), patients)

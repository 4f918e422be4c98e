"""Net benefit of acting on the scores. Numpy in, numbers out."""

from __future__ import annotations

import numpy as np

from dxa_tbs.evaluation.intervals import Estimate, mean_interval


def net_benefit(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, threshold: float) -> Estimate:
    """Return the net benefit of calling scores at or above a threshold Degraded; mean over repeats, with its interval.

    Net benefit is true positives per image minus false positives per image times the odds of the threshold. Calling no
    image Degraded has net benefit 0.

    Args:
        labels: shape (N,), 0 or 1.
        scores: shape (S, N), calibrated probabilities of S repeats.
        patients: shape (N,), integers from 0.
        threshold: the risk from which a doctor would act, above 0 and below 1.

    Source: Vickers and Elkin, Med Decis Making 26:565 (2006).
    """
    worth = np.where(labels == 1, 1.0, -threshold / (1 - threshold))
    gained = (scores >= threshold) * worth
    return mean_interval(gained.mean(axis=1), gained.mean(axis=0) / len(labels), patients)

"""What acting on the scores would bring: predictive values at a prevalence, net benefit. Numpy in, numbers out."""

from __future__ import annotations

import numpy as np


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """Return PPV and NPV where that share of patients is Degraded, by Bayes' rule; NaN where nobody is called so.

    Sensitivity and specificity are taken to be those of the test set: a clinic whose patients differ in more than the
    share of Degraded ones has others.
    """
    called_degraded = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    called_normal = (1 - sensitivity) * prevalence + specificity * (1 - prevalence)
    ppv = sensitivity * prevalence / called_degraded if called_degraded else float("nan")
    npv = specificity * (1 - prevalence) / called_normal if called_normal else float("nan")
    return ppv, npv


def net_benefit(labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the net benefit of calling Degraded at or above each threshold, (T,).

    True positives per patient, less false positives weighted by the odds of the threshold. Calling nobody has 0.

    Args:
        labels: shape (N,), 0 or 1.
        scores: shape (N,), calibrated probabilities.
        thresholds: shape (T,), above 0 and below 1: the risk from which one would act.

    Source: Vickers and Elkin, Med Decis Making 26:565 (2006).
    """
    calls = scores[None, :] >= thresholds[:, None]
    true_positive = (calls & (labels == 1)).mean(axis=1)
    false_positive = (calls & (labels == 0)).mean(axis=1)
    return np.asarray(true_positive - false_positive * thresholds / (1 - thresholds))


def net_benefit_of_all(labels: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the net benefit of calling everybody Degraded, (T,)."""
    share = labels.mean()
    return np.asarray(share - (1 - share) * thresholds / (1 - thresholds))

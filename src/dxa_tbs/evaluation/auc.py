"""The area under the ROC curve: placements, and confidence limits that also hold near 1. Numpy in, numbers out."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, stats

from dxa_tbs.evaluation.variance import Variance, t_quantile

NEAR_ONE = 0.95
FEW_MISPLACED = 5
ROOT_GAP = 1e-9  # the search for a limit starts this far from the estimate, which is itself a root at 0 and 1


def placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of negatives below each positive, and the share of positives above each negative.

    Ties count one half. The mean of either array is the AUC.

    Args:
        labels: shape (N,), 0 or 1.
        scores: shape (N,).

    Sources: DeLong et al., Biometrics 44:837 (1988); computed from ranks as in Sun and Xu, IEEE Signal Process Lett
    21:1389 (2014).
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    above = (ranks[: len(positive)] - stats.rankdata(positive)) / len(negative)
    below = 1 - (ranks[len(positive) :] - stats.rankdata(negative)) / len(positive)
    return above, below


def hanley_mcneil(auc: float, num_positive: float, num_negative: float) -> float:
    """Return the variance of an AUC, given only its value and the class sizes.

    Source: Hanley and McNeil, Radiology 143:29 (1982), as modified in method 5 of Newcombe, Stat Med 25:559 (2006).
    """
    half = (num_positive + num_negative) / 2 - 1
    inner = 1 + half * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return auc * (1 - auc) * inner / (num_positive * num_negative)


def auc_limits(
    auc: float, variance: Variance, *, num_positive: int, num_negative: int, misplaced: float
) -> tuple[float, float, str]:
    """Return the 95 % limits of an AUC and the name of the method; the limits are NaN if the variance is.

    The usual limits are symmetric on the logit scale and use Student's t. Near 0 and 1 the sample variance carries too
    little information, and Newcombe's method 5 takes over: the limits are the roots x of |auc - x| = t sqrt(r v(x)).
    Here v is `hanley_mcneil`, and r = variance / v(auc), at least 1, lets the spread over trainings widen them.

    Args:
        num_positive, num_negative: numbers of patients, so that several images of one patient count once.
        misplaced: `count_misplaced` of the experiment: below FEW_MISPLACED, method 5 is used.

    Source: Newcombe, Stat Med 25:559 (2006); docs/statistics.md shows the coverage.
    """
    if math.isnan(variance.value):
        return math.nan, math.nan, "none"
    is_spread = 0 < auc < 1 and variance.value > 0
    if is_spread and max(auc, 1 - auc) < NEAR_ONE and misplaced >= FEW_MISPLACED:
        logit, spread = math.log(auc / (1 - auc)), variance.half_width / (auc * (1 - auc))
        return 1 / (1 + math.exp(-logit + spread)), 1 / (1 + math.exp(-logit - spread)), "DeLong, logit"
    ratio = max(1.0, variance.value / hanley_mcneil(auc, num_positive, num_negative)) if is_spread else 1.0
    t = t_quantile(variance.df)

    def excess(x: float) -> float:
        return abs(auc - x) - t * math.sqrt(ratio * hanley_mcneil(x, num_positive, num_negative))

    low = optimize.brentq(excess, 0.0, auc - ROOT_GAP) if auc > 0 else 0.0
    high = optimize.brentq(excess, auc + ROOT_GAP, 1.0) if auc < 1 else 1.0
    return float(low), float(high), "Newcombe 5"

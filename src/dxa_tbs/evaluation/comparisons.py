"""Whether two experiments differ on the same test images: paired tests, and Holm's correction for many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dxa_tbs.evaluation.intervals import CONFIDENCE, Scored, mean_auc, mean_placements


@dataclass(frozen=True)
class Comparison:
    """First less second, its 95 % interval (NaN where the test gives none), the two-sided p, and the test."""

    difference: float
    low: float
    high: float
    p: float
    test: str


def delong_paired(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compare mean AUCs (DeLong et al., Biometrics 44:837, 1988); one image per patient; scores of shape (S, N)."""
    (above_1, below_1), (above_2, below_2) = mean_placements(labels, first), mean_placements(labels, second)
    above, below = above_1 - above_2, below_1 - below_2
    difference = float(above.mean())
    if min(len(above), len(below)) < 2:
        return Comparison(difference, math.nan, math.nan, math.nan, "none")
    error = math.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    if error == 0:  # no spread to judge a difference by
        return Comparison(difference, math.nan, math.nan, 1.0 if difference == 0 else math.nan, "paired DeLong")
    spread = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * error
    p = float(2 * stats.norm.sf(abs(difference / error)))
    low, high = max(-1.0, difference - spread), min(1.0, difference + spread)
    return Comparison(difference, low, high, p, "paired DeLong")


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compare the accuracy of two sets of calls, (N,), by McNemar's exact test (Psychometrika 12:153, 1947)."""
    first_only = int(((first == labels) & (second != labels)).sum())
    second_only = int(((first != labels) & (second == labels)).sum())
    discordant = first_only + second_only
    p = float(stats.binomtest(first_only, discordant).pvalue) if discordant else 1.0
    return Comparison((first_only - second_only) / len(labels), math.nan, math.nan, p, "exact McNemar")


def bootstrap_paired(value: float, resampled: np.ndarray) -> Comparison:
    """Return a difference with the percentile interval of its resamples and twice the share on the far side of 0."""
    resampled = resampled[~np.isnan(resampled)]
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    tail = min((resampled <= 0).sum(), (resampled >= 0).sum()) + 1
    p = min(1.0, 2 * tail / (len(resampled) + 1))
    return Comparison(value, float(low), float(high), float(p), "paired bootstrap")


def compare(first: Scored, second: Scored) -> dict[str, Comparison]:
    """Compare AUC, accuracy and F1 of two experiments on the same images of the same patients.

    With several images per patient, or several repeats, accuracy (and with several images, the AUC) is compared by the
    bootstrap over patients: McNemar and DeLong take the images for independent.
    """
    assert (first.labels == second.labels).all(), "only what was tested on the same images is paired"

    def by_bootstrap(metric: str, values: Sequence[float]) -> Comparison:
        return bootstrap_paired(values[0] - values[1], first.resampled[metric] - second.resampled[metric])

    def means(metric: str) -> list[float]:
        return [float(scored.values[metric].mean()) for scored in (first, second)]

    found = {"f1": by_bootstrap("f1", means("f1"))}
    if len(np.unique(first.labels)) < 2:
        found["auc"] = Comparison(math.nan, math.nan, math.nan, math.nan, "none")
    elif first.is_clustered:
        found["auc"] = by_bootstrap("auc", [mean_auc(first), mean_auc(second)])
    else:
        found["auc"] = delong_paired(first.labels, first.scores, second.scores)
    if first.is_clustered or max(len(first.calls), len(second.calls)) > 1:
        found["accuracy"] = by_bootstrap("accuracy", means("accuracy"))
    else:
        found["accuracy"] = mcnemar(first.labels, first.calls[0], second.calls[0])
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, Scand J Stat 6:65, 1979); NaN stays and does not count."""
    p = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    corrected = p.copy()
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(order) else []
    return [float(value) for value in corrected]

"""Whether two experiments differ on the same test images: paired tests, and Holm's correction for many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dxa_tbs.evaluation.intervals import (
    CONFIDENCE,
    bootstrap_weights,
    counts,
    mean_placements,
    metrics_of_counts,
    resampled_auc,
)


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
    if error == 0:
        return Comparison(difference, difference, difference, 1.0 if difference == 0 else 0.0, "paired DeLong")
    spread = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * error
    p = float(2 * stats.norm.sf(abs(difference / error)))
    return Comparison(difference, difference - spread, difference + spread, p, "paired DeLong")


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


def compare(
    labels: np.ndarray,
    patients: np.ndarray,
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
) -> dict[str, Comparison]:
    """Compare AUC, accuracy and F1 of two experiments on the same images.

    With several images per patient, or several repeats, accuracy (and with several images, the AUC) is compared by the
    bootstrap over patients: McNemar and DeLong take the images for independent.

    Args:
        labels: shape (N,), 0 or 1.
        patients: shape (N,).
        first, second: scores and calls, each of shape (S, N); S may differ.
    """
    is_clustered = len(np.unique(patients)) < len(patients)
    weights = bootstrap_weights(labels, patients)
    values = [metrics_of_counts(counts(labels, calls)) for _, calls in (first, second)]
    resampled = [metrics_of_counts(counts(labels, calls, weights)) for _, calls in (first, second)]

    def by_bootstrap(metric: str) -> Comparison:
        value = float(values[0][metric].mean() - values[1][metric].mean())
        return bootstrap_paired(value, resampled[0][metric].mean(axis=1) - resampled[1][metric].mean(axis=1))

    found = {"f1": by_bootstrap("f1")}
    if is_clustered:
        aucs = [resampled_auc(labels, scores, weights) for scores, _ in (first, second)]
        means = [float(mean_placements(labels, scores)[0].mean()) for scores, _ in (first, second)]
        found["auc"] = bootstrap_paired(means[0] - means[1], aucs[0] - aucs[1])
    else:
        found["auc"] = delong_paired(labels, first[0], second[0])
    if is_clustered or max(len(first[1]), len(second[1])) > 1:
        found["accuracy"] = by_bootstrap("accuracy")
    else:
        found["accuracy"] = mcnemar(labels, first[1][0], second[1][0])
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

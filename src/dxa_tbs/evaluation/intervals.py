"""95 % intervals: Wilson, DeLong and the stratified bootstrap over patients. Numpy in, numbers out.

S repeats (seeds) of one experiment score the same N images; what is estimated is the mean of a metric over repeats, and
what varies is which patients there are. One repeat is the usual case.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000
PROPORTIONS = ("accuracy", "sensitivity", "specificity", "precision")
METRICS = (*PROPORTIONS, "f1", "auc_hard", "mcc")  # of counts; auc_hard is balanced accuracy
Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval (NaN where there is none), how that was found."""

    value: float
    low: float
    high: float
    method: str

    def contains(self, value: float) -> bool:
        return self.low <= value <= self.high


def wilson(successes: int, trials: int) -> Estimate:
    """Return a proportion with Wilson's interval (J Am Stat Assoc 22:209, 1927, through scipy)."""
    if trials == 0:
        return Estimate(math.nan, math.nan, math.nan, "none")
    interval = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high), "Wilson")


def placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each positive, the share of negatives below it, and for each negative that of positives above it.

    Ties count one half. Their means are the AUC. Source: DeLong et al., Biometrics 44:837 (1988), by ranks: Sun and
    Xu, IEEE Signal Process Lett 21:1389 (2014).

    Args:
        labels: shape (N,), 0 or 1.
        scores: shape (N,).
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    above = (ranks[: len(positive)] - stats.rankdata(positive)) / len(negative)
    below = 1 - (ranks[len(positive) :] - stats.rankdata(negative)) / len(positive)
    return above, below


def mean_placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the placements averaged over repeats; scores of shape (S, N)."""
    of_each = [placements(labels, row) for row in scores]
    return np.mean([above for above, _ in of_each], axis=0), np.mean([below for _, below in of_each], axis=0)


def delong(labels: np.ndarray, scores: np.ndarray) -> Estimate:
    """Return the mean AUC of the repeats with DeLong's interval, on the logit scale so that it stays within 0 and 1.

    Args:
        labels: shape (N,), 0 or 1; one image per patient.
        scores: shape (S, N).
    """
    above, below = mean_placements(labels, scores)
    auc = float(above.mean())
    if min(len(above), len(below)) < 2:
        return Estimate(auc, math.nan, math.nan, "none")
    error = math.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    if error == 0 or not 0 < auc < 1:
        return Estimate(auc, math.nan, math.nan, "none")
    logit, spread = math.log(auc / (1 - auc)), Z * error / (auc * (1 - auc))
    low, high = (1 / (1 + math.exp(-(logit + side * spread))) for side in (-1, 1))
    return Estimate(auc, low, high, "DeLong")


def bootstrap_weights(labels: np.ndarray, patients: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return how often each image occurs in each resample, (RESAMPLES, N): patients drawn within their class.

    A patient with any positive image counts as positive. The same cohort gets the same resamples, so differences
    between experiments are paired.
    """
    _, owner = np.unique(patients, return_inverse=True)
    is_positive = np.zeros(owner.max() + 1, bool)
    np.logical_or.at(is_positive, owner, labels == 1)
    return _patient_weights(is_positive.tobytes(), seed)[:, owner]


@functools.lru_cache(maxsize=2)  # most experiments share their test set
def _patient_weights(is_positive: bytes, seed: int) -> np.ndarray:
    positive = np.frombuffer(is_positive, bool)
    rng = np.random.default_rng(seed)
    weights = np.zeros((RESAMPLES, len(positive)), np.int32)
    for members in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        if len(members):
            weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), RESAMPLES)
    return weights


def counts(labels: np.ndarray, calls: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return tp, fp, tn, fn of each repeat, (S,), or of each resample and repeat, (RESAMPLES, S); calls (S, N)."""
    weights = np.ones((1, len(labels)), np.int32) if weights is None else weights
    cells = {"tp": calls & (labels == 1), "fp": calls & (labels == 0)}
    cells |= {"tn": ~calls & (labels == 0), "fn": ~calls & (labels == 1)}
    table = {name: weights @ cell.T.astype(np.float64) for name, cell in cells.items()}
    return {name: cell[0] for name, cell in table.items()} if len(weights) == 1 else table


def metrics_of_counts(cells: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the metrics of tp, fp, tn, fn, element by element; NaN where one is not defined."""
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


def resampled_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean AUC of the repeats in each resample, (RESAMPLES,); scores of shape (S, N)."""
    total = np.zeros(len(weights))
    for row in scores:
        _, level = np.unique(row, return_inverse=True)
        by_level = np.argsort(level, kind="stable")
        starts = np.flatnonzero(np.diff(level[by_level], prepend=-1))
        positive, negative = (
            np.add.reduceat((weights * (labels == kind))[:, by_level], starts, axis=1).astype(float) for kind in (1, 0)
        )
        below = negative.cumsum(axis=1) - negative / 2
        total += (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
    return total / len(scores)


def percentile(value: float, resampled: np.ndarray) -> Estimate:
    """Return a value with the percentile interval of those resamples in which it is defined."""
    defined = resampled[~np.isnan(resampled)]
    if math.isnan(value) or not len(defined) or np.ptp(defined) == 0:  # every resample alike says nothing of the spread
        return Estimate(value, math.nan, math.nan, "none")
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), "bootstrap")


@dataclass(frozen=True)
class Scored:
    """An experiment on its test images: S repeats, N images.

    Attributes:
        labels, patients: (N,).
        scores, calls: (S, N).
        values: of each metric of the calls, (S,).
        resampled: the mean over repeats in each resample of the patients, (RESAMPLES,).
        is_clustered: whether patients have several images.
    """

    labels: np.ndarray
    patients: np.ndarray
    scores: np.ndarray
    calls: np.ndarray
    values: dict[str, np.ndarray]
    resampled: dict[str, np.ndarray]
    is_clustered: bool


def resample(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, *, threshold: np.ndarray | float) -> Scored:
    """Return an experiment with its metrics, resampled by patient.

    Args:
        labels: shape (N,), 0 or 1.
        scores: shape (S, N), of S repeats.
        patients: shape (N,), who each image is of.
        threshold: a score at or above it is called positive; one for all, or one per repeat, (S,).
    """
    is_clustered = len(np.unique(patients)) < len(patients)
    calls = scores >= np.reshape(threshold, (-1, 1))
    weights = bootstrap_weights(labels, patients)
    of_each = metrics_of_counts(counts(labels, calls, weights))
    resampled = {name: values.mean(axis=1) for name, values in of_each.items()}
    if is_clustered and len(np.unique(labels)) == 2:
        resampled["auc"] = resampled_auc(labels, scores, weights)
    values = metrics_of_counts(counts(labels, calls))
    return Scored(labels, patients, scores, calls, values, resampled, is_clustered)


def mean_auc(scored: Scored) -> float:
    """Return the mean AUC of the repeats, NaN where a class is missing."""
    if len(np.unique(scored.labels)) < 2:
        return math.nan
    return float(mean_placements(scored.labels, scored.scores)[0].mean())


def estimates(scored: Scored) -> dict[str, Estimate]:
    """Return every metric of an experiment with its interval.

    Wilson for proportions and DeLong for the AUC where each patient has one image, the bootstrap over patients
    otherwise; for F1, balanced accuracy (auc_hard) and MCC, and for proportions averaged over repeats, always the
    bootstrap.
    """
    found = {name: percentile(float(scored.values[name].mean()), scored.resampled[name]) for name in METRICS}
    if len(scored.scores) == 1 and not scored.is_clustered:
        cells = counts(scored.labels, scored.calls)
        tp, fp, tn, fn = (int(cells[name][0]) for name in ("tp", "fp", "tn", "fn"))
        trials = {
            "accuracy": (tp + tn, tp + fp + tn + fn),
            "sensitivity": (tp, tp + fn),
            "specificity": (tn, tn + fp),
            "precision": (tp, tp + fp),
        }
        found |= {name: wilson(*trials[name]) for name in PROPORTIONS}
    auc = mean_auc(scored)
    if math.isnan(auc):
        found["auc"] = Estimate(math.nan, math.nan, math.nan, "none")
    elif scored.is_clustered:
        found["auc"] = percentile(auc, scored.resampled["auc"])
    else:
        found["auc"] = delong(scored.labels, scored.scores)
    return found

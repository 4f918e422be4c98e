"""95 % confidence intervals of an experiment's metrics. Numpy in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dxa_tbs.evaluation.auc import auc_limits
from dxa_tbs.evaluation.measured import Scored, count_misplaced, count_patients, measure, variance_of
from dxa_tbs.evaluation.rates import LEAST, METRICS, RATES
from dxa_tbs.evaluation.variance import (
    CONFIDENCE,
    Variance,
    add_variances,
    between_patients,
    between_trainings,
    t_quantile,
)

Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
MOST_EFFECTIVE = 1.5  # cap on the effective sample size of a mean over repeats, in multiples of the number of patients


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval (NaN if it is not defined), and the method of the interval."""

    value: float
    low: float
    high: float
    method: str

    def contains(self, value: float) -> bool:
        return self.low <= value <= self.high


def no_interval(value: float) -> Estimate:
    return Estimate(value, math.nan, math.nan, "none")


def wilson_limits(share: float, trials: float, quantile: float = Z) -> tuple[float, float]:
    """Return Wilson's limits of a proportion; the number of trials may be fractional.

    Source: Wilson, J Am Stat Assoc 22:209 (1927).
    """
    squared = quantile**2 / trials
    middle = (share + squared / 2) / (1 + squared)
    half = math.sqrt(squared * (share * (1 - share) + squared / 4)) / (1 + squared)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def wilson(successes: int, trials: int) -> Estimate:
    """Return a proportion with Wilson's interval."""
    if trials == 0:
        return no_interval(math.nan)
    return Estimate(successes / trials, *wilson_limits(successes / trials, trials), "Wilson")


def proportion(hits: np.ndarray, patients: np.ndarray) -> Estimate:
    """Return the share of hits with Wilson's interval at the effective number of images.

    If patients have several images, the number of images is divided by the design effect, and Student's t with
    patients - 1 degrees of freedom replaces the normal quantile. The design effect is at least 1 and at most its value
    if all images of a patient were copies.

    Args:
        hits: shape (N,), bool.
        patients: shape (N,), integers.

    Source: Saha, Miller and Wang, Int J Biostat 12 (2016); clipping the design effect is ours.
    """
    _, owner = np.unique(patients, return_inverse=True)
    sizes = np.bincount(owner)
    if len(hits) == 0 or len(sizes) == len(hits):
        return wilson(int(hits.sum()), len(hits))
    share, count = float(hits.mean()), len(sizes)
    if count < 2:
        return no_interval(share)
    largest = float(sizes @ sizes) / len(hits)
    effect = largest
    if 0 < share < 1:
        of_patients = np.bincount(owner, hits - share)
        variance = count / (count - 1) * float(of_patients @ of_patients) / len(hits) ** 2
        effect = min(max(variance / (share * (1 - share) / len(hits)), 1.0), largest)
    limits = wilson_limits(share, len(hits) / effect, t_quantile(count - 1))
    return Estimate(share, *limits, "Wilson, effective n")


def mover(
    function: Callable[[float, float], float], sensitivity: Estimate, specificity: Estimate, *, least: float = 0.0
) -> Estimate:
    """Return a function of sensitivity and specificity, increasing in both, with limits computed from theirs.

    Source: method of variance estimates recovery (MOVER), Zou and Donner, Stat Med 27:1693 (2008).
    """
    value = function(sensitivity.value, specificity.value)
    if math.isnan(value) or math.isnan(sensitivity.low) or math.isnan(specificity.low):
        return no_interval(value)

    def side(end: str) -> float:
        return math.hypot(
            value - function(getattr(sensitivity, end), specificity.value),
            value - function(sensitivity.value, getattr(specificity, end)),
        )

    low, high = max(value - side("low"), least), min(value + side("high"), 1.0)
    return Estimate(value, low, high, "MOVER")


def mean_interval(of_each: np.ndarray, influence: np.ndarray, patients: np.ndarray) -> Estimate:
    """Return a mean over repeats with Student's t interval, for metrics that are neither proportions nor AUCs.

    Class sizes are not taken as fixed: other patients may have other labels.

    Args:
        of_each: shape (S,), the metric in each repeat.
        influence: shape (N,), each image's contribution to the mean; need not be centred.
        patients: shape (N,), integers from 0.
    """
    variance = between_patients(influence - influence.mean(), np.zeros(len(influence)), patients)
    if len(of_each) > 1:
        variance = add_variances(variance, between_trainings(of_each[:, None]))
    value, half = float(of_each.mean()), variance.half_width
    if math.isnan(value) or math.isnan(half):
        return no_interval(value)
    return Estimate(value, value - half, value + half, "delta")


def estimates(scored: Scored, *, training: bool = True) -> dict[str, Estimate]:
    """Return every metric of an experiment with its interval.

    Args:
        training: whether the intervals include the variance over trainings, estimated from several seeds or folds; else
            they hold for these trained networks on other patients.
    """
    if not scored.has_both_classes:
        found = {name: no_interval(float(scored.values[name].mean())) for name in METRICS}
        of_class = "sensitivity" if scored.num_positive else "specificity"
        found["accuracy"] = found[of_class] = estimate(scored, "accuracy", training=training)
        return found | {"auc": no_interval(math.nan)}
    return {name: estimate(scored, name, training=training) for name in (*METRICS, "auc")}


def estimate(scored: Scored, metric: str, *, training: bool = True, ratio: float | None = None) -> Estimate:
    """Return one metric with its interval: `auc`, or one of `rates.RATES`. All but accuracy need both classes.

    Args:
        training: as in `estimates`.
        ratio: negatives per positive in the population of interest; None: as in the test set.
    """
    if metric != "auc" and len(scored.scores) == 1 and (scored.num_folds == 1 or not training):
        return _of_one_training(scored, metric, ratio)
    measured = measure(scored, metric, ratio=ratio)
    variance = variance_of(measured, scored, training=training)
    if math.isnan(measured.value) or math.isnan(variance.value):
        return no_interval(measured.value)
    if metric != "auc" and variance.value == 0:
        return _of_constant_calls(scored, metric, ratio, measured.value)
    if metric != "auc":
        return Estimate(measured.value, *_limits_of_mean(measured.value, variance, metric, scored), "delta")
    limits = auc_limits(
        measured.value,
        variance,
        num_positive=count_patients(scored, 1),
        num_negative=count_patients(scored, 0),
        misplaced=count_misplaced(scored),
    )
    return Estimate(measured.value, *limits)


def _of_one_training(scored: Scored, metric: str, ratio: float | None = None) -> Estimate:
    labels, calls, patients = scored.labels, scored.calls[0], scored.patients
    if metric == "accuracy":
        return proportion(calls == labels, patients)
    rates = [proportion((calls == labels)[labels == label], patients[labels == label]) for label in (1, 0)]
    if metric in ("sensitivity", "specificity"):
        return rates[("sensitivity", "specificity").index(metric)]
    return _of_rates(scored, metric, ratio, *rates)


def _of_constant_calls(scored: Scored, metric: str, ratio: float | None, value: float) -> Estimate:
    """Return a metric whose variance is zero: each repeat calls all images of a class alike, but repeats may differ."""
    hits = (scored.calls == scored.labels).mean(axis=0)

    def share(chosen: np.ndarray) -> Estimate:
        count, mean = len(np.unique(scored.patients[chosen])), float(hits[chosen].mean())
        quantile = t_quantile(count - 1) if scored.is_clustered else Z
        return Estimate(mean, *wilson_limits(mean, count, quantile), "Wilson")

    if metric == "accuracy":
        return share(np.ones(len(hits), bool))
    rates = [share(scored.labels == label) for label in (1, 0)]
    if metric in ("sensitivity", "specificity"):
        return rates[("sensitivity", "specificity").index(metric)]
    found = _of_rates(scored, metric, ratio, *rates)
    return Estimate(value, min(found.low, value), max(found.high, value), found.method)


def _of_rates(scored: Scored, metric: str, ratio: float | None, *rates: Estimate) -> Estimate:
    """Return a metric computed from sensitivity and specificity, with its interval."""
    of_rates = scored.num_negative / scored.num_positive if ratio is None else ratio

    def metric_of(sensitivity: float, specificity: float) -> float:
        return float(RATES[metric](np.array(sensitivity), np.array(specificity), of_rates))

    return mover(metric_of, rates[0], rates[1], least=LEAST.get(metric, 0.0))


def _limits_of_mean(value: float, variance: Variance, metric: str, scored: Scored) -> tuple[float, float]:
    """Return Wilson's limits of a mean over repeats, at the number of trials that gives this variance."""
    least = LEAST.get(metric, 0.0)
    share, scaled = (value - least) / (1 - least), variance.value / (1 - least) ** 2
    trials = share * (1 - share) / scaled
    if metric in ("sensitivity", "specificity"):
        trials = min(trials, MOST_EFFECTIVE * count_patients(scored, int(metric == "sensitivity")))
    low, high = wilson_limits(share, trials, t_quantile(variance.df))
    return least + (1 - least) * low, least + (1 - least) * high

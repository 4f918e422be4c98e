"""Whether two experiments differ on the same test images. Numpy in, numbers out.

With one training per experiment, a test asks whether these two trained networks differ on other patients. With several,
it asks whether the experiments differ: the standard error then includes the variance over trainings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dxa_tbs.evaluation.intervals import Estimate, Z
from dxa_tbs.evaluation.measured import Measured, Scored, measure, with_training
from dxa_tbs.evaluation.variance import CONFIDENCE, Variance, between_patients, t_quantile

COMPARED = ("auc", "f1", "accuracy")
POWER = 0.8
# Upper limit of the degrees of freedom, per degree of freedom of the seeds: if the variance over two seeds is small by
# chance, Satterthwaite's formula gives too many.
MOST_DF = 3


@dataclass(frozen=True)
class Comparison:
    """The difference first minus second, with its 95 % interval and test.

    Attributes:
        low, high: the 95 % interval; NaN if it is not defined.
        p: two-sided; NaN if it is not defined.
        test: name of the test, or "none".
        error, df: standard error of the difference and its degrees of freedom; NaN for McNemar's test.
    """

    difference: float
    low: float
    high: float
    p: float
    test: str
    error: float = math.nan
    df: float = math.nan


def compare(first: Scored, second: Scored, *, training: bool = True) -> dict[str, Comparison]:
    """Compare AUC, F1 and accuracy of two experiments on the same images of the same patients.

    Args:
        training: whether interval and p include the variance over trainings; else they hold for these trained networks.
    """
    for one, other in ((first.labels, second.labels), (first.patients, second.patients), (first.folds, second.folds)):
        assert np.array_equal(one, other), "only experiments on the same images in the same folds can be paired"
    if not first.has_both_classes:
        return {metric: Comparison(math.nan, math.nan, math.nan, math.nan, "none") for metric in COMPARED}
    found = {}
    for metric in COMPARED:
        is_one_training = len(first.scores) == len(second.scores) == first.num_folds == 1
        if metric == "accuracy" and is_one_training and not first.is_clustered:
            found[metric] = mcnemar(first.labels, first.calls[0], second.calls[0])
        else:
            found[metric] = _compare(metric, first, second, training=training)
    return found


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compare the accuracy of two sets of calls, (N,), by McNemar's mid-p test and Bonett and Price's interval.

    Sources: Fagerland et al., BMC Med Res Methodol 13:91 (2013); Bonett and Price, J Educ Behav Stat 37:479 (2012).
    """
    first_only = int(((first == labels) & (second != labels)).sum())
    second_only = int(((first != labels) & (second == labels)).sum())
    discordant, num_images = first_only + second_only, len(labels)
    fewer = min(first_only, second_only)
    mid_p = float(2 * stats.binom.cdf(fewer, discordant, 0.5) - stats.binom.pmf(fewer, discordant, 0.5))
    shares = [(count + 1) / (num_images + 2) for count in (first_only, second_only)]
    shift = shares[0] - shares[1]
    half = Z * math.sqrt((sum(shares) - shift**2) / (num_images + 2))
    low, high = max(-1.0, shift - half), min(1.0, shift + half)
    return Comparison((first_only - second_only) / num_images, low, high, mid_p, "McNemar, mid-p")


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple testing; NaN stays NaN and does not count as a test.

    Source: Holm, Scand J Stat 6:65 (1979).
    """
    p = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    corrected = p.copy()
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(order) else []
    return [float(value) for value in corrected]


def needed_t(df: float, num_tests: int) -> float:
    """Return the |t| at which the smallest of `num_tests` p-values is .05 after Holm's correction."""
    return t_quantile(df, 1 - (1 - CONFIDENCE) / num_tests)


def smallest_difference(error: float, df: float) -> float:
    """Return roughly the true difference that a two-sided test at .05 detects with 80 % power."""
    return (t_quantile(df) + float(stats.t.ppf(POWER, df))) * error


def subtract_independent(first: Estimate, second: Estimate) -> Estimate:
    """Return first minus second for two independent samples, with limits computed from theirs.

    Sources: Newcombe, Stat Med 17:873 (1998), method 10; for other metrics, Zou and Donner, Stat Med 27:1693 (2008).
    """
    difference = first.value - second.value
    low = difference - math.hypot(first.value - first.low, second.high - second.value)
    high = difference + math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(difference, low, high, "none" if math.isnan(low) or math.isnan(high) else "square and add")


def _compare(metric: str, first: Scored, second: Scored, *, training: bool) -> Comparison:
    measured = [measure(scored, metric) for scored in (first, second)]
    difference = measured[0].value - measured[1].value
    variance = _variance_of_difference(measured, first, training=training)
    test = _name_of_test(metric, first, second, training=training)
    if math.isnan(difference) or math.isnan(variance.value):
        return Comparison(difference, math.nan, math.nan, math.nan, "none")
    if variance.value == 0:  # without spread only equality can be judged
        return Comparison(difference, math.nan, math.nan, 1.0 if difference == 0 else math.nan, test)
    error = math.sqrt(variance.value)
    p = float(2 * stats.t.sf(abs(difference / error), variance.df))
    low, high = max(-1.0, difference - variance.half_width), min(1.0, difference + variance.half_width)
    return Comparison(difference, low, high, p, test, error, variance.df)


def _variance_of_difference(measured: list[Measured], scored: Scored, *, training: bool) -> Variance:
    influence = measured[0].influence - measured[1].influence
    found = between_patients(influence, scored.labels, scored.patients, num_folds=measured[0].num_groups)
    if not training:
        return found
    of_folds = [one.of_trainings.mean(axis=0, keepdims=True) for one in measured]
    found = with_training(found, measured, of_folds[0] - of_folds[1])
    of_seeds = sum(scored.num_folds * (len(one.of_each) - 1) for one in measured)
    return Variance(found.value, min(found.df, MOST_DF * of_seeds)) if of_seeds else found


def _name_of_test(metric: str, first: Scored, second: Scored, *, training: bool) -> str:
    name = "paired DeLong" if metric == "auc" else "paired delta method"
    name += " by patient" * first.is_clustered
    has_trainings = max(len(first.scores), len(second.scores), first.num_folds) > 1
    return name + (" with training" if training and has_trainings else "") + ", t"

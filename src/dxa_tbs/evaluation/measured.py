"""An experiment's scores on its test images, and its metrics with the influence of each image. Numpy in, numbers out.

S repeats (seeds) of one experiment score the same N images. In a cross-validation the images lie in K folds, and each
fold is scored by its own network. The AUC is then the mean of the folds' AUCs, because scores of different networks are
not on the same scale.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dxa_tbs.evaluation.auc import placements
from dxa_tbs.evaluation.rates import RATES, counts, metrics_of_counts, slopes
from dxa_tbs.evaluation.variance import Variance, add_variances, between_patients, between_trainings


@dataclass(frozen=True)
class Scored:
    """Labels, scores and calls of an experiment's test images.

    Attributes:
        labels: shape (N,), 0 or 1.
        patients: shape (N,), integers from 0, the patient of each image.
        folds: shape (N,), integers from 0, the fold in which each image was tested.
        scores, calls: shape (S, N), one row per repeat.
    """

    labels: np.ndarray
    patients: np.ndarray
    folds: np.ndarray
    scores: np.ndarray
    calls: np.ndarray

    @functools.cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Return each metric of the calls, (S,)."""
        return metrics_of_counts(counts(self.labels, self.calls))

    @functools.cached_property
    def auc(self) -> Measured:
        return _measure_auc(self)

    @property
    def num_folds(self) -> int:
        return int(self.folds.max()) + 1

    @property
    def is_clustered(self) -> bool:
        """Return whether some patient has several images."""
        return int(self.patients.max()) + 1 < len(self.patients)

    @property
    def num_positive(self) -> int:
        return int(self.labels.sum())

    @property
    def num_negative(self) -> int:
        return len(self.labels) - self.num_positive

    @property
    def has_both_classes(self) -> bool:
        return 0 < self.num_positive < len(self.labels)


@dataclass(frozen=True)
class Measured:
    """A metric of an experiment.

    Attributes:
        of_each: shape (S,), its value in each repeat; their mean is the estimate.
        of_trainings: shape (S, K), its value in each repeat and fold.
        influence: shape (N,), each image's contribution to the mean, centred within each class (for the AUC, within
            each class of each fold).
        num_groups: number of groups per class within which the influences were centred.
    """

    of_each: np.ndarray
    of_trainings: np.ndarray
    influence: np.ndarray
    num_groups: int

    @property
    def value(self) -> float:
        return float(self.of_each.mean())


def build_scored(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    *,
    threshold: np.ndarray | float,
    folds: np.ndarray | None = None,
) -> Scored:
    """Return an experiment on its test images.

    Args:
        labels: shape (N,), 0 or 1.
        scores: shape (S, N), of S repeats.
        patients: shape (N,), any identifiers.
        threshold: scores at or above it are called positive; one value, or one per repeat and image, (S, N).
        folds: shape (N,), any identifiers; None: one test set.
    """
    _, owner = np.unique(patients, return_inverse=True)
    _, fold = np.unique(np.zeros(len(labels)) if folds is None else folds, return_inverse=True)
    return Scored(labels, owner, fold, scores, scores >= threshold)


def measure(scored: Scored, metric: str, *, ratio: float | None = None) -> Measured:
    """Return `auc` (from the scores) or a metric of `rates.RATES` (from the calls). All but accuracy need both classes.

    Influences on a metric of the calls follow from the delta method: the metric is a function of sensitivity and
    specificity, which are means over images.

    Args:
        ratio: negatives per positive in the population of interest; None: as in the test set.
    """
    assert scored.has_both_classes or metric == "accuracy"
    return scored.auc if metric == "auc" else _measure_rate(scored, metric, ratio)


def variance_of(measured: Measured, scored: Scored, *, training: bool) -> Variance:
    """Return the variance of a metric's mean over patients; with `training`, over patients and trainings."""
    found = between_patients(measured.influence, scored.labels, scored.patients, num_folds=measured.num_groups)
    return with_training(found, [measured], measured.of_trainings) if training else found


def with_training(test: Variance, trained: Sequence[Measured], of_trainings: np.ndarray) -> Variance:
    """Return the variance over patients plus the variance over trainings of one or two experiments.

    Several seeds add s^2 / S. If s^2 / K of the folds' values is larger than the resulting sum, it is returned instead:
    each fold has its own patients and its own training.

    Args:
        test: the variance over patients.
        trained: the metric of one experiment, or of the two whose difference is meant.
        of_trainings: shape (S, K), the metric in each repeat and fold; for two experiments, the difference of its means
            over repeats, (1, K).

    Source: for the variance within folds, LeDell et al., Electron J Stat 9:1583 (2015).
    """
    found = add_variances(test, *(_between_seeds(one) for one in trained if len(one.of_each) > 1))
    found = Variance(found.value, min(found.df, test.df))  # else the interval could be narrower than without training
    of_folds = of_trainings.mean(axis=0)
    if len(of_folds) > 1 and not np.isnan(of_folds).any():
        over_folds = between_trainings(of_folds[:, None])
        return over_folds if over_folds.value > found.value else found
    return found


def _between_seeds(measured: Measured) -> Variance:
    is_defined = not np.isnan(measured.of_trainings).any()  # a fold without a call has no precision
    return between_trainings(measured.of_trainings if is_defined else measured.of_each[:, None])


def centre_by_class(influence: np.ndarray, labels: np.ndarray) -> None:
    """Subtract in place the mean influence of each class; class sizes are taken as fixed."""
    for label in np.unique(labels):
        influence[labels == label] -= influence[labels == label].mean()


def count_patients(scored: Scored, label: int) -> int:
    """Return the number of patients with an image of a class."""
    return len(np.unique(scored.patients[scored.labels == label]))


def count_misplaced(scored: Scored) -> float:
    """Return the number of patients with a misplaced image, in the class that has fewer of them; mean over repeats.

    An image is misplaced if an image of the other class, in the same fold, scores on its wrong side or equally.
    """
    totals = np.zeros(2)
    for scores in scored.scores:
        is_misplaced = np.zeros(len(scored.labels), bool)
        for fold in range(scored.num_folds):
            high, low = ((scored.labels == label) & (scored.folds == fold) for label in (1, 0))
            if high.any() and low.any():
                is_misplaced |= (high & (scores <= scores[low].max())) | (low & (scores >= scores[high].min()))
        totals += [len(np.unique(scored.patients[is_misplaced & (scored.labels == label)])) for label in (1, 0)]
    return float(totals.min()) / len(scored.scores)


def _measure_auc(scored: Scored) -> Measured:
    """Return the mean of the folds' AUCs."""
    num_folds = scored.num_folds
    of_each = np.zeros((len(scored.scores), num_folds))
    influence = np.zeros(len(scored.labels))
    for fold in range(num_folds):
        chosen = scored.folds == fold
        labels = scored.labels[chosen]
        if labels.min() == labels.max():
            of_each[:, fold] = math.nan
            continue
        moved = np.zeros(len(labels))
        for repeat, scores in enumerate(scored.scores[:, chosen]):
            above, below = placements(labels, scores)
            of_each[repeat, fold] = above.mean()
            moved[labels == 1] += (above - above.mean()) / len(above)
            moved[labels == 0] += (below - below.mean()) / len(below)
        influence[chosen] = moved / (len(scored.scores) * num_folds)
    return Measured(of_each.mean(axis=1), of_each, influence, num_folds)


def _measure_rate(scored: Scored, metric: str, ratio: float | None) -> Measured:
    positive = scored.labels == 1
    hits = np.where(positive, scored.calls, ~scored.calls)
    if metric == "accuracy":
        influence = hits.mean(axis=0) / len(positive)
    else:
        natural = scored.num_negative / scored.num_positive
        rates = scored.values["sensitivity"], scored.values["specificity"]
        by_sensitivity, by_specificity = slopes(metric, *rates, natural if ratio is None else ratio)
        of_class = by_sensitivity[:, None] / scored.num_positive, by_specificity[:, None] / scored.num_negative
        influence = (np.where(positive, *of_class) * hits).mean(axis=0)
    centre_by_class(influence, scored.labels)
    folds = [scored.folds == fold for fold in range(scored.num_folds)]
    of_trainings = [_rates(scored.labels[part], scored.calls[:, part], metric, ratio) for part in folds]
    of_each = _rates(scored.labels, scored.calls, metric, ratio)
    return Measured(of_each, np.stack(of_trainings, axis=1), influence, 1)


def _rates(labels: np.ndarray, calls: np.ndarray, metric: str, ratio: float | None) -> np.ndarray:
    found = metrics_of_counts(counts(labels, calls))
    if ratio is None:
        return found[metric]
    return RATES[metric](found["sensitivity"], found["specificity"], ratio)

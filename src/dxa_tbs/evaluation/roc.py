"""ROC curves with confidence bands. Numpy in, numbers out."""

from __future__ import annotations

import numpy as np
from sklearn import metrics

from dxa_tbs.evaluation.measured import Scored
from dxa_tbs.evaluation.variance import CONFIDENCE

GRID = np.linspace(0, 1, 101)  # false positive rates


def roc_band(scored: Scored, *, resamples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sensitivity at GRID, mean over repeats and folds, and the limits of its pointwise 95 % bootstrap band.

    The band holds for these trained networks on other patients.

    Args:
        scored: must have both classes in each fold.
        resamples: number of bootstrap resamples of the patients, drawn within class and fold.
    """
    weights = draw_patients(scored, resamples=resamples, seed=seed)
    mean, resampled = np.zeros(len(GRID)), np.zeros((resamples, len(GRID)))
    share = 1 / (len(scored.scores) * scored.num_folds)
    for fold in range(scored.num_folds):
        chosen = scored.folds == fold
        labels = scored.labels[chosen]
        for scores in scored.scores[:, chosen]:
            false_positive, sensitivity, _ = metrics.roc_curve(labels, scores)
            mean += share * np.interp(GRID, false_positive, sensitivity)
            resampled += share * _resampled_curves(labels, scores, weights[:, chosen])
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return mean, low, high


def draw_patients(scored: Scored, *, resamples: int, seed: int = 0) -> np.ndarray:
    """Return how often each image occurs in each resample, (resamples, N).

    Patients are drawn with all their images, within fold and class. A patient with any positive image is positive.
    """
    num_patients = int(scored.patients.max()) + 1
    is_positive, fold = np.zeros(num_patients, bool), np.zeros(num_patients, int)
    is_positive[scored.patients[scored.labels == 1]] = True
    fold[scored.patients] = scored.folds
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, num_patients), np.int32)
    for stratum in np.unique(2 * fold + is_positive):
        members = np.flatnonzero(2 * fold + is_positive == stratum)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return weights[:, scored.patients]


def _resampled_curves(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.diff(scores[order]) != 0, True)
    positive, negative = (
        (weights[:, order] * (labels[order] == kind)).cumsum(axis=1)[:, last_of_ties] for kind in (1, 0)
    )
    curves = np.full((len(weights), len(GRID)), np.nan)
    for number in np.flatnonzero((positive[:, -1] > 0) & (negative[:, -1] > 0)):  # a class can be missing
        rates = negative[number] / negative[number, -1], positive[number] / positive[number, -1]
        curves[number] = np.interp(GRID, np.append(0, rates[0]), np.append(0, rates[1]))
    return curves

"""Whether scores are probabilities: reliability, Brier score, log loss, slope and intercept. Numpy in, numbers out.

Arguments throughout: labels, shape (N,), 0 or 1 with both present; scores in [0, 1], shape (N,), or (S, N) of S repeats
(seeds) on the same images, of which the mean is returned; patients, shape (N,), integers from 0.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression

from dxa_tbs.evaluation.intervals import Estimate, mean_interval, no_interval, wilson
from dxa_tbs.evaluation.variance import CONFIDENCE

NUM_BINS = 10
SIMULATIONS = 1000
LEAST_SCORE = 1e-6  # nearer to 0 or 1 a logit says more than a score in single precision can
TEMPERATURES = (0.02, 50.0)
LEAST_SPREAD = 0.05  # of the logits: a slope on nearly constant scores is a large number that says nothing
MOST_STEEP = 20.0  # log odds per standard deviation of the logits: beyond this the classes are all but separated
SEPARATED = "the scores separate the classes, or all but separate them"
ALIKE = f"the scores hardly differ (standard deviation of the logits below {LEAST_SPREAD:g})"


@dataclass(frozen=True)
class Bin:
    """Images of similar scores: how many, their mean score, and the share that is Degraded."""

    count: int
    mean_score: float
    observed: Estimate


@dataclass(frozen=True)
class Calibration:
    """How far scores are from probabilities.

    Attributes:
        brier, log_loss: mean squared error and cross-entropy of the scores.
        slope: of the labels' log odds on the scores' (1 is perfect; below 1: too sure); NaN where it is not estimable.
        no_slope: why the slope is not estimable; empty if it is.
        intercept: what is to be added to every logit for the mean score to be right (0 is perfect).
        ece: expected calibration error.
        ece_if_perfect: where 95 % of the values would lie if these very scores were the true probabilities: with few
            images nobody reaches 0.
    """

    brier: Estimate
    log_loss: Estimate
    slope: Estimate
    no_slope: str
    intercept: Estimate
    ece: float
    ece_if_perfect: tuple[float, float]


def reliability(labels: np.ndarray, scores: np.ndarray) -> list[Bin]:
    """Return bins of as equal counts as the scores allow, lowest first; images of one score share a bin."""
    owner = _bin_of_each(scores)
    return [
        Bin(
            count=int((owner == number).sum()),
            mean_score=float(scores[owner == number].mean()),
            observed=wilson(int(labels[owner == number].sum()), int((owner == number).sum())),
        )
        for number in np.unique(owner)
    ]


def calibration(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, *, seed: int = 0) -> Calibration:
    """Return how well the scores, (S, N), are calibrated.

    Slope and intercept: Cox, Biometrika 45:562 (1958); Van Calster et al., BMC Med 17:230 (2019), intervals by the
    sandwich estimator with patients as units. ECE: Naeini et al., AAAI 2015, with bins of equal counts; what it would
    be of perfect scores: consistency resampling, Broecker and Smith, Weather Forecast 22:651 (2007).
    """
    logits = to_logits(scores)
    draws = np.random.default_rng(seed).random((SIMULATIONS, len(labels)))
    simulated = np.mean([_ece((draws < row).astype(float), row) for row in scores], axis=0)
    low, high = np.quantile(simulated, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    no_slope = next((reason for row in logits if (reason := _why_no_slope(labels, row))), "")
    slopes = None if no_slope else _over_repeats(_slope, labels, logits)
    if slopes is not None and np.isnan(slopes[0]).any():
        no_slope = SEPARATED
    losses = np.logaddexp(0, logits) - labels * logits

    def interval(of_each: np.ndarray, influence: np.ndarray) -> Estimate:
        return mean_interval(of_each, influence.mean(axis=0), patients)

    squared = (scores - labels) ** 2
    return Calibration(
        brier=interval(squared.mean(axis=1), squared / len(labels)),
        log_loss=interval(losses.mean(axis=1), losses / len(labels)),
        slope=no_interval(math.nan) if no_slope or slopes is None else interval(*slopes),
        no_slope=no_slope,
        intercept=interval(*_over_repeats(_intercept, labels, logits)),
        ece=float(np.mean([_ece(labels[None], row)[0] for row in scores])),
        ece_if_perfect=(float(low), float(high)),
    )


def fit_temperature(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the T for which sigmoid(logit / T) has the least log loss, between 0.02 and 50; for validation alone.

    Source: Guo et al., ICML 2017.
    """
    logits = to_logits(scores)

    def loss(log_t: float) -> float:
        tempered = logits / np.exp(log_t)
        return float((np.logaddexp(0, tempered) - labels * tempered).mean())

    found = optimize.minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def apply_temperature(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Return sigmoid(logit / T) of each score: the order, and so the AUC, stays."""
    return np.asarray(special.expit(to_logits(scores) / temperature))


def to_logits(scores: np.ndarray) -> np.ndarray:
    return np.asarray(special.logit(np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)))


def _bin_of_each(scores: np.ndarray) -> np.ndarray:
    edges = np.quantile(scores, np.linspace(0, 1, NUM_BINS + 1)[1:-1])
    return np.searchsorted(edges, scores, side="right")


def _ece(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the mean distance of score and observed share over bins, weighted by count, (K,); labels (K, N)."""
    in_bin = np.eye(NUM_BINS)[_bin_of_each(scores)]
    return np.asarray(np.abs((labels - scores) @ in_bin).sum(axis=1) / len(scores))


def _over_repeats(
    fit: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]], labels: np.ndarray, logits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    values, influences = zip(*(fit(labels, row) for row in logits), strict=True)
    return np.array(values), np.stack(influences)


def _why_no_slope(labels: np.ndarray, logits: np.ndarray) -> str:
    if logits.std() < LEAST_SPREAD:
        return ALIKE
    positive, negative = logits[labels == 1], logits[labels == 0]
    return SEPARATED if positive.min() >= negative.max() or positive.max() <= negative.min() else ""


def _slope(labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the slope of the unpenalised logistic regression of labels on logits, and the influence of each image.

    Both are NaN where the classes are all but separated: the fit does not converge, or to a number without meaning.
    """
    line = LogisticRegression(C=1e12, solver="newton-cholesky", tol=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            line.fit(logits[:, None], labels)
        except Warning:
            return math.nan, np.full(len(labels), math.nan)
    if abs(line.coef_[0, 0]) * logits.std() > MOST_STEEP:
        return math.nan, np.full(len(labels), math.nan)
    design = np.stack([np.ones_like(logits), logits], axis=1)
    expected = line.predict_proba(logits[:, None])[:, 1]
    information = (design * (expected * (1 - expected))[:, None]).T @ design
    influence = (design * (labels - expected)[:, None]) @ np.linalg.inv(information)
    return float(line.coef_[0, 0]), influence[:, 1]


def _intercept(labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the shift of every logit that makes the mean score right, and the influence of each image."""
    bound = float(np.abs(logits).max()) + 20
    shift = float(optimize.brentq(lambda shift: special.expit(logits + shift).mean() - labels.mean(), -bound, bound))
    expected = special.expit(logits + shift)
    return shift, (labels - expected) / (expected * (1 - expected)).sum()

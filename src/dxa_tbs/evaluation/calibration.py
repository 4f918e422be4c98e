"""Whether scores are probabilities: reliability, Brier score, log loss, slope and intercept. Numpy in, numbers out.

Arguments in all functions:
    labels: shape (N,), 0 or 1; both occur.
    scores: in [0, 1], shape (N,), or (S, N) for S repeats (seeds) on the same images; results are means over repeats.
    patients: shape (N,), integers from 0.
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
LEAST_SCORE = 1e-6  # closer to 0 or 1, logits would reflect the rounding of single-precision scores
TEMPERATURES = (0.02, 50.0)
LEAST_SPREAD = 0.05  # standard deviation of the logits; with nearly constant scores the slope is large and meaningless
MOST_STEEP = 20.0  # log odds per standard deviation of the logits; beyond this the classes are almost separated
SEPARATED = "the scores separate the classes, or all but separate them"
ALIKE = f"the scores hardly differ (standard deviation of the logits below {LEAST_SPREAD:g})"


@dataclass(frozen=True)
class Bin:
    """Images with similar scores: their number, mean score, and observed share of Degraded."""

    count: int
    mean_score: float
    observed: Estimate


@dataclass(frozen=True)
class Calibration:
    """How far scores are from probabilities.

    Attributes:
        brier, log_loss: mean squared error and cross-entropy of the scores.
        slope: slope of the labels' log odds on the logits of the scores. 1 is perfect, below 1 the scores are too
            extreme; NaN if it cannot be estimated.
        no_slope: why the slope cannot be estimated; empty if it can.
        intercept: the constant that, added to every logit, makes the mean score right (0 is perfect).
        ece: expected calibration error.
        ece_if_perfect: 95 % range of the ECE if these scores were the true probabilities; with few images even perfect
            scores do not reach 0.
    """

    brier: Estimate
    log_loss: Estimate
    slope: Estimate
    no_slope: str
    intercept: Estimate
    ece: float
    ece_if_perfect: tuple[float, float]


def reliability(labels: np.ndarray, scores: np.ndarray) -> list[Bin]:
    """Return bins of nearly equal counts, lowest scores first; images with equal scores share a bin."""
    bins = _bin_of_each(scores)
    return [
        Bin(
            count=int((bins == number).sum()),
            mean_score=float(scores[bins == number].mean()),
            observed=wilson(int(labels[bins == number].sum()), int((bins == number).sum())),
        )
        for number in np.unique(bins)
    ]


def calibration(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, *, seed: int = 0) -> Calibration:
    """Return how well the scores, (S, N), are calibrated.

    Intervals of slope and intercept come from the sandwich estimator with patients as units. The ECE uses bins of equal
    counts; its range for perfect scores comes from consistency resampling.

    Sources: slope and intercept, Cox, Biometrika 45:562 (1958) and Van Calster et al., BMC Med 17:230 (2019); ECE,
    Naeini et al., AAAI 2015; resampling, Broecker and Smith, Weather Forecast 22:651 (2007).
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
    """Return the T between 0.02 and 50 that minimises the log loss of sigmoid(logit / T); use it on validation only.

    Source: Guo et al., ICML 2017.
    """
    logits = to_logits(scores)

    def loss(log_t: float) -> float:
        tempered = logits / np.exp(log_t)
        return float((np.logaddexp(0, tempered) - labels * tempered).mean())

    found = optimize.minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def apply_temperature(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Return sigmoid(logit / T) of each score; the order of the scores, and so the AUC, is kept."""
    return np.asarray(special.expit(to_logits(scores) / temperature))


def to_logits(scores: np.ndarray) -> np.ndarray:
    return np.asarray(special.logit(np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)))


def _bin_of_each(scores: np.ndarray) -> np.ndarray:
    edges = np.quantile(scores, np.linspace(0, 1, NUM_BINS + 1)[1:-1])
    return np.searchsorted(edges, scores, side="right")


def _ece(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the count-weighted mean gap between score and observed share over bins, (K,), for labels (K, N)."""
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
    """Return the slope of an unpenalised logistic regression of labels on logits, and the influence of each image.

    Both are NaN if the classes are almost separated: the fit then diverges, or ends at an arbitrary large slope.
    """
    regression = LogisticRegression(C=1e12, solver="newton-cholesky", tol=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            regression.fit(logits[:, None], labels)
        except Warning:
            return math.nan, np.full(len(labels), math.nan)
    if abs(regression.coef_[0, 0]) * logits.std() > MOST_STEEP:
        return math.nan, np.full(len(labels), math.nan)
    design = np.stack([np.ones_like(logits), logits], axis=1)
    expected = regression.predict_proba(logits[:, None])[:, 1]
    information = (design * (expected * (1 - expected))[:, None]).T @ design
    influence = (design * (labels - expected)[:, None]) @ np.linalg.inv(information)
    return float(regression.coef_[0, 0]), influence[:, 1]


def _intercept(labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the shift of all logits that makes the mean score right, and the influence of each image."""
    bound = float(np.abs(logits).max()) + 20
    shift = float(optimize.brentq(lambda shift: special.expit(logits + shift).mean() - labels.mean(), -bound, bound))
    expected = special.expit(logits + shift)
    return shift, (labels - expected) / (expected * (1 - expected)).sum()

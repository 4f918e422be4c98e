"""Whether scores are probabilities: reliability, Brier score, log loss, slope and intercept. Numpy in, numbers out.

Arguments throughout: labels, shape (N,), 0 or 1 with both present; scores in [0, 1], shape (N,), or (S, N) of S repeats
(seeds) on the same images, of which the mean is returned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from dxa_tbs.evaluation.intervals import CONFIDENCE, Estimate, wilson

NUM_BINS = 10
SIMULATIONS = 1000
LEAST_SCORE = 1e-6  # nearer to 0 or 1 a logit says more than a score in single precision can
TEMPERATURES = (0.02, 50.0)


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
        slope: of the labels' log odds on the scores' (1 is perfect; below 1: too sure); NaN where these separate the
            classes.
        intercept: what is to be added to every logit for the mean score to be right (0 is perfect).
        ece: expected calibration error.
        ece_if_perfect: where 95 % of the values would lie if these very scores were the true probabilities: with few
            images nobody reaches 0.
    """

    brier: float
    log_loss: float
    slope: float
    intercept: float
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


def calibration(labels: np.ndarray, scores: np.ndarray, *, seed: int = 0) -> Calibration:
    """Return how well the scores, (S, N), are calibrated.

    Slope and intercept: Cox, Biometrika 45:562 (1958); Van Calster et al., BMC Med 17:230 (2019). ECE: Naeini et al.,
    AAAI 2015, with bins of equal counts; what it would be of perfect scores: consistency resampling, Bröcker and
    Smith, Weather Forecast 22:651 (2007).
    """
    logits = to_logits(scores)
    draws = np.random.default_rng(seed).random((SIMULATIONS, len(labels)))
    simulated = np.mean([_ece((draws < row).astype(float), row) for row in scores], axis=0)
    low, high = np.quantile(simulated, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Calibration(
        brier=float(np.mean([metrics.brier_score_loss(labels, row) for row in scores])),
        log_loss=float(np.mean([metrics.log_loss(labels, special.expit(row)) for row in logits])),
        slope=float(np.mean([_slope(labels, row) for row in logits])),
        intercept=float(np.mean([_intercept(labels, row) for row in logits])),
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


def _slope(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the slope of the unpenalised logistic regression of labels on logits; NaN where none exists."""
    positive, negative = logits[labels == 1], logits[labels == 0]
    if positive.min() >= negative.max() or positive.max() <= negative.min():  # also where all are alike
        return float("nan")
    line = LogisticRegression(C=1e12, solver="newton-cholesky", tol=1e-10).fit(logits[:, None], labels)
    return float(line.coef_[0, 0])


def _intercept(labels: np.ndarray, logits: np.ndarray) -> float:
    bound = float(np.abs(logits).max()) + 20
    return float(optimize.brentq(lambda shift: special.expit(logits + shift).mean() - labels.mean(), -bound, bound))

"""Calibration and decisions against hand-computed cases, scikit-learn and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special
from sklearn.calibration import calibration_curve

from dxa_tbs.evaluation.calibration import (
    apply_temperature,
    calibration,
    fit_temperature,
    reliability,
    to_logits,
)
from dxa_tbs.evaluation.decisions import net_benefit, net_benefit_of_all, predictive_values
from dxa_tbs.evaluation.metrics import binary_auc


def simulated(count: int, *, slope: float = 1.0, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, and scores whose log odds must be multiplied by `slope` and moved by `shift` to be true."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, count)
    labels = (rng.random(count) < special.expit(slope * logits + shift)).astype(int)
    return labels, special.expit(logits)


def test_slope_and_intercept_are_those_of_the_highest_likelihood() -> None:
    labels, scores = simulated(800, slope=0.6, shift=0.3)
    found = calibration(labels, scores[None])
    logits = to_logits(scores)

    def least_loss(slope: float) -> float:
        """Of all lines with this slope."""
        losses = [
            np.logaddexp(0, z).mean() - (labels * z).mean() for z in slope * logits + np.linspace(-1, 1, 401)[:, None]
        ]
        return float(min(losses))

    assert found.slope == pytest.approx(0.6, abs=0.15)
    assert all(least_loss(found.slope) <= least_loss(found.slope + step) for step in (-0.05, -0.02, 0.02, 0.05))
    assert special.expit(to_logits(scores) + found.intercept).mean() == pytest.approx(labels.mean())


def test_true_probabilities_have_slope_1_intercept_0_and_brier_and_log_loss_by_hand() -> None:
    labels, scores = simulated(10_000)
    found = calibration(labels, scores[None])
    assert found.slope == pytest.approx(1, abs=0.1)
    assert found.intercept == pytest.approx(0, abs=0.1)
    assert found.brier == pytest.approx(np.mean((scores - labels) ** 2))
    assert found.log_loss == pytest.approx(-np.mean(labels * np.log(scores) + (1 - labels) * np.log(1 - scores)))
    assert found.ece < 0.02
    low, high = found.ece_if_perfect
    assert low < found.ece < high


def test_bins_have_equal_counts_and_are_scikit_learns() -> None:
    labels, scores = simulated(1000)
    bins = reliability(labels, scores)
    observed, mean_score = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    assert [one.count for one in bins] == [100] * 10
    assert [one.observed.value for one in bins] == pytest.approx(observed, abs=0.011)  # they break ties the other way
    assert [one.mean_score for one in bins] == pytest.approx(mean_score, abs=0.01)
    assert all(one.observed.contains(one.observed.value) for one in bins)


def test_images_of_one_score_share_a_bin() -> None:
    labels, scores = np.array([0, 1] * 20), np.full(40, 0.3)
    (only,) = reliability(labels, scores)
    assert (only.count, only.mean_score, only.observed.value) == (40, pytest.approx(0.3), 0.5)
    assert calibration(labels, scores[None]).ece == pytest.approx(0.2)


def test_the_calibration_error_by_hand() -> None:
    labels = np.repeat([0, 1, 0, 1], [8, 2, 5, 5])
    scores = np.repeat([0.1, 0.8], 10) + np.tile(np.linspace(0, 1e-3, 10), 2)
    by_hand = np.abs((scores - labels).reshape(10, 2).sum(axis=1)).sum() / 20
    assert calibration(labels, scores[None]).ece == pytest.approx(by_hand)


def test_the_calibration_error_of_perfect_scores_lies_where_it_is_said_to() -> None:
    """In 95 of 100 cohorts whose scores are the true probabilities; too sure scores are found out."""
    inside = []
    for seed in range(200):
        labels, scores = simulated(181, seed=seed)
        found = calibration(labels, scores[None], seed=seed)
        inside.append(found.ece_if_perfect[0] <= found.ece <= found.ece_if_perfect[1])
    assert 0.91 <= np.mean(inside) <= 0.99
    labels, scores = simulated(181, slope=0.3)
    found = calibration(labels, scores[None])
    assert found.ece > found.ece_if_perfect[1]


def test_of_several_repeats_the_mean_is_given() -> None:
    labels, scores = simulated(300)
    other = np.clip(scores * 0.7, 0, 1)
    both, one, two = (calibration(labels, np.array(rows)) for rows in ([scores, other], [scores], [other]))
    for name in ("brier", "log_loss", "slope", "intercept", "ece"):
        assert getattr(both, name) == pytest.approx((getattr(one, name) + getattr(two, name)) / 2)


def test_scores_that_separate_the_classes_have_no_slope() -> None:
    found = calibration(np.array([0, 0, 1, 1]), np.array([[0.1, 0.2, 0.7, 0.9]]))
    assert math.isnan(found.slope)


def test_the_temperature_undoes_what_made_the_scores_too_sure() -> None:
    labels, scores = simulated(20_000)
    too_sure = special.expit(3 * to_logits(scores))
    temperature = fit_temperature(labels, too_sure)
    assert temperature == pytest.approx(3, rel=0.05)
    mended = apply_temperature(too_sure, temperature)
    assert mended == pytest.approx(scores, abs=0.02)
    assert binary_auc(labels, mended) == pytest.approx(binary_auc(labels, too_sure))


def test_predictive_values_by_bayes_rule() -> None:
    ppv, npv = predictive_values(0.8, 0.9, 0.1)
    assert ppv == pytest.approx(0.08 / 0.17)
    assert npv == pytest.approx(0.81 / 0.83)
    assert math.isnan(predictive_values(0.0, 1.0, 0.2)[0])


def test_net_benefit_by_hand() -> None:
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.3, 0.6, 0.2, 0.1])
    thresholds = np.array([0.25, 0.5])
    assert net_benefit(labels, scores, thresholds) == pytest.approx([2 / 5 - 1 / 5 / 3, 1 / 5 - 1 / 5])
    assert net_benefit_of_all(labels, thresholds) == pytest.approx([2 / 5 - 3 / 5 / 3, 2 / 5 - 3 / 5])
    everybody = np.ones(5)
    assert net_benefit(labels, everybody, thresholds) == pytest.approx(net_benefit_of_all(labels, thresholds))

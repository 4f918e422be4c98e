"""Calibration and decisions against hand-computed cases, scikit-learn and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats
from sklearn.calibration import calibration_curve

from dxa_tbs.evaluation.calibration import (
    Calibration,
    apply_temperature,
    calibration,
    fit_temperature,
    reliability,
    to_logits,
)
from dxa_tbs.evaluation.decisions import net_benefit
from dxa_tbs.evaluation.metrics import binary_auc

PATIENTS = np.arange(20_000)


def calibrated(labels: np.ndarray, scores: np.ndarray, seed: int = 0) -> Calibration:
    return calibration(labels, scores, PATIENTS[: len(labels)], seed=seed)


def simulated(count: int, *, slope: float = 1.0, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores; the true log odds are `slope` times those of the scores plus `shift`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, count)
    labels = (rng.random(count) < special.expit(slope * logits + shift)).astype(int)
    return labels, special.expit(logits)


def test_slope_and_intercept_maximise_the_likelihood() -> None:
    labels, scores = simulated(800, slope=0.6, shift=0.3)
    found = calibrated(labels, scores[None])
    logits = to_logits(scores)

    def least_loss(slope: float) -> float:
        """Of all lines with this slope."""
        losses = [
            np.logaddexp(0, z).mean() - (labels * z).mean() for z in slope * logits + np.linspace(-1, 1, 401)[:, None]
        ]
        return float(min(losses))

    assert found.slope.value == pytest.approx(0.6, abs=0.15)
    assert all(
        least_loss(found.slope.value) <= least_loss(found.slope.value + step) for step in (-0.05, -0.02, 0.02, 0.05)
    )
    assert special.expit(to_logits(scores) + found.intercept.value).mean() == pytest.approx(labels.mean())


def test_true_probabilities_have_slope_1_and_intercept_0() -> None:
    labels, scores = simulated(10_000)
    found = calibrated(labels, scores[None])
    assert found.slope.value == pytest.approx(1, abs=0.1)
    assert found.intercept.value == pytest.approx(0, abs=0.1)
    assert found.brier.value == pytest.approx(np.mean((scores - labels) ** 2))
    assert found.log_loss.value == pytest.approx(-np.mean(labels * np.log(scores) + (1 - labels) * np.log(1 - scores)))
    assert found.ece < 0.02
    low, high = found.ece_if_perfect
    assert low < found.ece < high


def test_bins_have_equal_counts_and_agree_with_scikit_learn() -> None:
    labels, scores = simulated(1000)
    bins = reliability(labels, scores)
    observed, mean_score = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    assert [one.count for one in bins] == [100] * 10
    assert [one.observed.value for one in bins] == pytest.approx(
        observed, abs=0.011
    )  # scikit-learn breaks ties the other way
    assert [one.mean_score for one in bins] == pytest.approx(mean_score, abs=0.01)
    assert all(one.observed.contains(one.observed.value) for one in bins)


def test_images_with_equal_scores_share_a_bin() -> None:
    labels, scores = np.array([0, 1] * 20), np.full(40, 0.3)
    (only,) = reliability(labels, scores)
    assert (only.count, only.mean_score, only.observed.value) == (40, pytest.approx(0.3), 0.5)
    assert calibrated(labels, scores[None]).ece == pytest.approx(0.2)


def test_the_calibration_error_by_hand() -> None:
    labels = np.repeat([0, 1, 0, 1], [8, 2, 5, 5])
    scores = np.repeat([0.1, 0.8], 10) + np.tile(np.linspace(0, 1e-3, 10), 2)
    by_hand = np.abs((scores - labels).reshape(10, 2).sum(axis=1)).sum() / 20
    assert calibrated(labels, scores[None]).ece == pytest.approx(by_hand)


def test_the_calibration_error_of_perfect_scores_lies_in_the_stated_range() -> None:
    """It does so in 95 of 100 cohorts whose scores are the true probabilities; overconfident scores lie outside."""
    inside = []
    for seed in range(200):
        labels, scores = simulated(181, seed=seed)
        found = calibrated(labels, scores[None], seed)
        inside.append(found.ece_if_perfect[0] <= found.ece <= found.ece_if_perfect[1])
    assert 0.91 <= np.mean(inside) <= 0.99
    labels, scores = simulated(181, slope=0.3)
    found = calibrated(labels, scores[None])
    assert found.ece > found.ece_if_perfect[1]


def test_several_repeats_are_averaged() -> None:
    labels, scores = simulated(300)
    other = np.clip(scores * 0.7, 0, 1)
    both, one, two = (calibrated(labels, np.array(rows)) for rows in ([scores, other], [scores], [other]))
    for name in ("brier", "log_loss", "slope", "intercept"):
        found = [getattr(calibration, name).value for calibration in (both, one, two)]
        assert found[0] == pytest.approx((found[1] + found[2]) / 2)
    assert both.ece == pytest.approx((one.ece + two.ece) / 2)


def test_a_slope_that_cannot_be_estimated_comes_with_the_reason() -> None:
    separated = calibrated(np.array([0, 0, 1, 1]), np.array([[0.1, 0.2, 0.7, 0.9]]))
    assert math.isnan(separated.slope.value)
    assert separated.no_slope == "the scores separate the classes, or all but separate them"
    labels, scores = simulated(181)
    alike = calibrated(labels, special.expit(1e-4 * to_logits(scores))[None])
    assert math.isnan(alike.slope.value)
    assert alike.no_slope.startswith("the scores hardly differ")
    assert calibrated(labels, scores[None]).no_slope == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["brier", "log_loss", "slope", "intercept"])
def test_standard_errors_agree_with_the_bootstrap(name: str) -> None:
    labels, scores = simulated(400, slope=0.7, shift=0.2)
    found = getattr(calibrated(labels, scores[None]), name)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(300):
        rows = rng.integers(0, 400, 400)
        drawn.append(getattr(calibrated(labels[rows], scores[None, rows]), name).value)
    assert (found.high - found.low) / (2 * 1.97) == pytest.approx(np.std(drawn), rel=0.15)


def test_intercepts_of_perfect_scores_cover_zero() -> None:
    inside = []
    for seed in range(300):
        labels, scores = simulated(181, seed=seed)
        found = calibrated(labels, scores[None])
        inside.append(found.intercept.contains(0))
    assert np.mean(inside) > 0.91


def test_almost_separated_classes_have_no_slope() -> None:
    logits = np.concatenate([np.linspace(-0.03, -0.001, 60), np.linspace(0.001, 0.03, 40)])
    labels = (logits > 0).astype(int)
    logits[60] = -0.0012
    for scale in (3.0, 100.0):
        found = calibrated(labels, special.expit(scale * logits)[None])
        assert math.isnan(found.slope.value)
        assert found.no_slope.startswith("the scores separate")


def test_copies_of_images_do_not_change_the_interval_of_the_slope() -> None:
    """The images of a patient count as one unit, so a copy of every image adds no evidence."""
    labels, scores = simulated(300)
    once = calibrated(labels, scores[None]).slope
    twice = calibration(np.repeat(labels, 2), np.repeat(scores, 2)[None], np.repeat(np.arange(300), 2)).slope
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high), rel=1e-4)


def test_the_temperature_undoes_a_known_scaling_of_the_logits() -> None:
    labels, scores = simulated(20_000)
    too_sure = special.expit(3 * to_logits(scores))
    temperature = fit_temperature(labels, too_sure)
    assert temperature == pytest.approx(3, rel=0.05)
    mended = apply_temperature(too_sure, temperature)
    assert mended == pytest.approx(scores, abs=0.02)
    assert binary_auc(labels, mended) == pytest.approx(binary_auc(labels, too_sure))


def test_net_benefit_by_hand() -> None:
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([[0.9, 0.3, 0.6, 0.2, 0.1]])
    patients = np.arange(5)
    found = [net_benefit(labels, scores, patients, threshold) for threshold in (0.25, 0.5)]
    assert [one.value for one in found] == pytest.approx([2 / 5 - 1 / 5 / 3, 1 / 5 - 1 / 5])
    assert net_benefit(labels, np.ones((1, 5)), patients, 0.25).value == pytest.approx(2 / 5 - 3 / 5 / 3)
    gained = np.array([1, 0, -1, 0, 0])  # at 0.5
    width = 2 * stats.t.ppf(0.975, 4) * gained.std(ddof=1) / math.sqrt(5)
    assert found[1].high - found[1].low == pytest.approx(width)

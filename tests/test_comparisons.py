"""Paired comparisons against hand calculation, published examples and simulation."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from dxa_tbs.evaluation.comparisons import compare, holm, mcnemar, needed_t, smallest_difference, subtract_independent
from dxa_tbs.evaluation.intervals import wilson
from dxa_tbs.evaluation.measured import Scored, build_scored

LABELS = np.repeat([1, 0], [42, 139])


def scored(*rows: np.ndarray, folds: np.ndarray | None = None) -> Scored:
    return build_scored(LABELS, np.stack(rows), np.arange(181), threshold=0.5, folds=folds)


def binormal(seed: int, separation: float = 1.6) -> np.ndarray:
    return stats.norm.cdf(np.random.default_rng(seed).normal(0, 1, 181) + separation * LABELS - 0.8)


def test_mcnemars_mid_p_and_bonett_and_prices_interval_by_hand() -> None:
    labels = np.zeros(20, int)
    first, second = np.zeros(20, int), np.zeros(20, int)
    first[:2], second[2:10] = 1, 1  # the first is wrong on 2 images, the second on 8 others
    found = mcnemar(labels, first, second)
    tail = [math.comb(10, k) / 2**10 for k in range(3)]
    assert found.difference == pytest.approx(6 / 20)
    assert found.p == pytest.approx(2 * (tail[0] + tail[1] + tail[2] / 2))
    first_only, second_only = 9 / 22, 3 / 22
    half = 1.959964 * math.sqrt((first_only + second_only - (first_only - second_only) ** 2) / 22)
    assert (found.low, found.high) == pytest.approx((6 / 22 - half, 6 / 22 + half), abs=1e-6)
    same = mcnemar(labels, first, first)
    assert (same.difference, same.p) == (0, 1.0)
    balanced = mcnemar(labels, np.repeat([1, 0, 0], [3, 3, 14]), np.repeat([0, 1, 0], [3, 3, 14]))
    assert balanced.p == pytest.approx(1.0)


def test_the_difference_of_two_aucs_by_hand() -> None:
    """DeLong's covariance of two AUCs, computed from their placements."""
    first, second = binormal(1), binormal(2, 1.2)
    found = compare(scored(first), scored(second))["auc"]
    wins = [(row[:42][:, None] > row[42:]) + 0.5 * (row[:42][:, None] == row[42:]) for row in (first, second)]
    over, under = np.cov([one.mean(axis=1) for one in wins]), np.cov([one.mean(axis=0) for one in wins])
    covariance = over / 42 + under / 139
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.difference == pytest.approx(
        metrics.roc_auc_score(LABELS, first) - metrics.roc_auc_score(LABELS, second)
    )
    assert found.error == pytest.approx(error)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.difference) / error, found.df))
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, found.df) * error)
    assert found.test == "paired DeLong, t"


def test_comparing_an_experiment_with_itself_finds_nothing() -> None:
    one = scored(binormal(1))
    found = compare(one, one)
    assert {name: comparison.p for name, comparison in found.items()} == {"f1": 1.0, "auc": 1.0, "accuracy": 1.0}
    assert {name: comparison.test for name, comparison in found.items()} == {
        "f1": "paired delta method, t", "auc": "paired DeLong, t", "accuracy": "McNemar, mid-p",
    }  # fmt: skip


def test_a_clear_difference_survives_91_pairs_in_every_metric() -> None:
    good, bad = scored(binormal(1, 3.0)), scored(binormal(2, 0.0))
    clustered = [
        build_scored(
            np.repeat(LABELS, 2), np.repeat(one.scores, 2, axis=1), np.repeat(np.arange(181), 2), threshold=0.5
        )
        for one in (good, bad)
    ]
    for pair in ((good, bad), clustered):
        for metric, found in compare(*pair).items():
            assert holm([found.p] + [0.5] * 90)[0] < 0.001, metric


def test_several_seeds_add_the_variance_over_trainings_of_both_experiments() -> None:
    first, second = scored(*(binormal(k, 1.2 + 0.4 * k) for k in range(3))), scored(binormal(7), binormal(8))
    narrow, wide = (compare(first, second, training=training)["auc"] for training in (False, True))
    aucs = [np.array([metrics.roc_auc_score(LABELS, row) for row in one.scores]) for one in (first, second)]
    spread = aucs[0].var(ddof=1) / 3, aucs[1].var(ddof=1) / 2
    assert wide.error**2 == pytest.approx(narrow.error**2 + sum(spread))
    parts = narrow.error**4 / narrow.df + spread[0] ** 2 / 2 + spread[1] ** 2 / 1
    assert wide.df == pytest.approx(min(wide.error**4 / parts, 3 * (2 + 1)))
    assert (narrow.test, wide.test) == ("paired DeLong, t", "paired DeLong with training, t")


def test_folds_that_disagree_widen_the_interval_of_a_difference() -> None:
    folds = np.tile([0, 1], 91)[:181]
    good, bad = binormal(1, 2.0), binormal(2, 0.0)
    first, second = scored(np.where(folds, good, bad), folds=folds), scored(np.where(folds, bad, good), folds=folds)
    found = compare(first, second)["auc"]
    of_folds = first.auc.of_trainings[0] - second.auc.of_trainings[0]
    assert found.df == 1
    assert found.error == pytest.approx(math.sqrt(of_folds.var(ddof=1) / 2))
    assert found.p > 0.5


def test_a_perfect_network_against_one_without_calls_leaves_uncertainty() -> None:
    labels = np.repeat([1, 0], [2, 23])
    perfect = build_scored(labels, labels[None].astype(float), np.arange(25), threshold=0.5)
    nobody = build_scored(labels, np.zeros((1, 25)), np.arange(25), threshold=0.5)
    assert not compare(perfect, nobody)["f1"].p < 0.05


def test_experiments_on_different_folds_are_not_paired() -> None:
    first, second = scored(binormal(1), folds=np.arange(181) % 2), scored(binormal(2), folds=np.arange(181) % 3)
    with pytest.raises(AssertionError, match="in the same folds"):
        compare(first, second)


def test_a_test_set_of_one_class_gives_no_comparison() -> None:
    one = build_scored(np.zeros(9, int), np.random.default_rng(0).random((1, 9)), np.arange(9), threshold=0.5)
    assert all(math.isnan(found.p) for found in compare(one, one).values())


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02, math.nan, 0.01])[0::2] == pytest.approx([0.02, 0.02])
    assert holm([]) == []


def test_the_t_needed_by_the_first_of_many_tests() -> None:
    assert needed_t(8, 1) == pytest.approx(2.306, abs=5e-4)  # Student's table
    assert needed_t(8, 91) == pytest.approx(5.5, abs=0.1)
    t = needed_t(40, 91)
    assert holm([2 * stats.t.sf(t, 40)] + [0.9] * 90)[0] == pytest.approx(0.05)


def test_the_smallest_difference_is_detected_in_80_of_100_studies() -> None:
    assert smallest_difference(0.03, math.inf) == pytest.approx((1.959964 + 0.841621) * 0.03, rel=1e-5)
    rng = np.random.default_rng(0)
    true = smallest_difference(1 / math.sqrt(12), 11)
    samples = rng.normal(true, 1, (4000, 12))
    p = stats.ttest_1samp(samples, 0, axis=1).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.03)


def test_the_difference_of_two_samples_agrees_with_newcombes_example() -> None:
    """56 of 70 against 48 of 80: method 10 gives 0.0524 to 0.3339 (Stat Med 17:873, 1998, Table II, contrast a)."""
    found = subtract_independent(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@pytest.mark.slow
def test_equal_architectures_seldom_differ_and_intervals_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few cells of the table in docs/statistics.md; the standard error of 500 studies is one percentage point."""
    monkeypatch.syspath_prepend(str(Path("scripts").resolve()))
    import interval_coverage as simulated  # type: ignore[import-not-found]

    for cell in (((42, 139), 0.87, 1, 2, 0.045, 500), ((15, 45), 0.75, 2, 3, 0.02, 500)):
        assert max(simulated.differ(cell).values()) < 0.08, cell
    for cell in (((15, 45), 0.97, 1, 1, 0.0, 500), ((42, 139), 0.87, 2, 3, 0.045, 500)):
        held, _ = simulated.cover(cell)
        assert min(held.values()) > 0.9, (cell, held)
    sys.modules.pop("interval_coverage")

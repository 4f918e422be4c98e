"""Intervals and comparisons against scipy, published figures, hand calculation and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from dxa_tbs.evaluation.comparisons import bootstrap_paired, compare, delong_paired, holm, mcnemar
from dxa_tbs.evaluation.intervals import (
    bootstrap_weights,
    counts,
    delong,
    estimates,
    metrics_of_counts,
    placements,
    resample,
    resampled_auc,
    wilson,
)

LABELS = np.repeat([1, 0], [42, 139])
PATIENTS = np.arange(181)


def binormal(rng: np.random.Generator, separation: float = 1.6) -> np.ndarray:
    return rng.normal(0, 1, 181) + separation * LABELS


SCORES = stats.norm.cdf(binormal(np.random.default_rng(0)) - 0.8)


def test_wilson_by_its_formula_and_for_the_papers_squeezenet() -> None:
    z, n, p = stats.norm.ppf(0.975), 42, 33 / 42
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = wilson(33, 42)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half))
    assert (round(found.low, 3), round(found.high, 3)) == (0.641, 0.883)
    nothing = wilson(0, 0)
    assert math.isnan(nothing.value)
    assert nothing.method == "none"


def test_delong_by_hand() -> None:
    """Hanley and McNeil's definition, pair by pair; the variance from the placements' own (n - 1) variances."""
    labels, scores = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([0.9, 0.6, 0.4, 0.7, 0.4, 0.2, 0.1])
    wins = np.array([[(p > q) + (p == q) / 2 for q in scores[3:]] for p in scores[:3]])
    above, below = placements(labels, scores)
    assert above == pytest.approx(wins.mean(axis=1))
    assert below == pytest.approx(wins.mean(axis=0))
    auc = wins.mean()
    error = math.sqrt(wins.mean(axis=1).var(ddof=1) / 3 + wins.mean(axis=0).var(ddof=1) / 4)
    found = delong(labels, scores[None])
    logit, spread = math.log(auc / (1 - auc)), 1.959964 * error / (auc * (1 - auc))
    assert found.value == pytest.approx(auc)
    assert found.low == pytest.approx(1 / (1 + math.exp(-logit + spread)), rel=1e-5)
    assert found.high == pytest.approx(1 / (1 + math.exp(-logit - spread)), rel=1e-5)


def test_delong_on_a_published_example() -> None:
    """Hanley and McNeil's 109 CT images, rated 1 to 5 (Radiology 143:29, 1982, Table I).

    Stata's manual (roctab) prints the area 0.8932, DeLong's standard error 0.0307 and the interval 0.83295 to 0.95339.
    """
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    labels = np.repeat([0, 1], [sum(normal), sum(abnormal)])
    ratings = np.repeat([1, 2, 3, 4, 5] * 2, normal + abnormal).astype(float)
    above, below = placements(labels, ratings)
    auc = above.mean()
    error = math.sqrt(above.var(ddof=1) / 51 + below.var(ddof=1) / 58)
    assert auc == pytest.approx(0.8932, abs=5e-5)
    assert error == pytest.approx(0.0307, abs=5e-5)
    assert (auc - 1.959964 * error, auc + 1.959964 * error) == pytest.approx((0.83295, 0.95339), abs=1e-5)
    found = delong(labels, ratings[None])  # the same error on the logit scale
    spread = math.log(found.high / (1 - found.high)) - math.log(found.low / (1 - found.low))
    assert spread == pytest.approx(2 * 1.959964 * error / (auc * (1 - auc)), rel=1e-5)


def test_the_standard_error_of_delong_agrees_with_the_bootstrap() -> None:
    found = delong(LABELS, SCORES[None])
    resampled = resampled_auc(LABELS, SCORES[None], bootstrap_weights(LABELS, PATIENTS))
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert found.value == pytest.approx(metrics.roc_auc_score(LABELS, SCORES))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)


def test_resampled_metrics_are_those_of_scikit_learn_on_the_resample() -> None:
    rng = np.random.default_rng(1)
    scores = np.round(SCORES, 1)  # with ties
    weights = bootstrap_weights(LABELS, PATIENTS)
    cells = metrics_of_counts(counts(LABELS, (scores >= 0.5)[None], weights))
    aucs = resampled_auc(LABELS, scores[None], weights)
    for row in rng.integers(0, len(weights), 5):
        chosen = np.repeat(PATIENTS, weights[row])
        labels, drawn = LABELS[chosen], scores[chosen]
        assert len(chosen) == 181
        assert labels.sum() == 42
        calls = drawn >= 0.5
        assert cells["f1"][row, 0] == pytest.approx(metrics.f1_score(labels, calls))
        assert cells["mcc"][row, 0] == pytest.approx(metrics.matthews_corrcoef(labels, calls))
        assert cells["auc_hard"][row, 0] == pytest.approx(metrics.balanced_accuracy_score(labels, calls))
        assert aucs[row] == pytest.approx(metrics.roc_auc_score(labels, drawn))


def test_patients_are_drawn_whole_and_widen_the_interval() -> None:
    patients, labels, scores = np.repeat(PATIENTS, 4), np.repeat(LABELS, 4), np.repeat(SCORES, 4)
    weights = bootstrap_weights(labels, patients)
    assert (weights.reshape(len(weights), -1, 4) == weights[:, ::4, None]).all()
    once = estimates(resample(LABELS, SCORES[None], PATIENTS, threshold=0.5))
    copied = estimates(resample(labels, scores[None], patients, threshold=0.5))
    for metric in ("f1", "sensitivity", "auc", "accuracy"):
        assert copied[metric].value == pytest.approx(once[metric].value)
        assert copied[metric].method == "bootstrap"
        width, of_copies = (found[metric].high - found[metric].low for found in (once, copied))
        assert of_copies == pytest.approx(width, rel=0.2)  # four copies of a patient are no more evidence than one


def test_methods_are_chosen_by_what_is_averaged() -> None:
    one = estimates(resample(LABELS, SCORES[None], PATIENTS, threshold=0.5))
    assert {name: found.method for name, found in one.items()} == {
        "accuracy": "Wilson", "sensitivity": "Wilson", "specificity": "Wilson", "precision": "Wilson",
        "f1": "bootstrap", "auc_hard": "bootstrap", "mcc": "bootstrap", "auc": "DeLong",
    }  # fmt: skip
    rng = np.random.default_rng(2)
    several = resample(LABELS, stats.norm.cdf([binormal(rng) - 0.8 for _ in range(3)]), PATIENTS, threshold=0.5)
    found = estimates(several)
    assert found["sensitivity"].method == "bootstrap"
    assert found["auc"].value == pytest.approx(np.mean([metrics.roc_auc_score(LABELS, row) for row in several.scores]))
    assert found["f1"].value == pytest.approx(np.mean([metrics.f1_score(LABELS, row) for row in several.calls]))


def test_what_is_not_defined_has_no_interval() -> None:
    nobody = estimates(resample(LABELS, np.zeros((1, 181)), PATIENTS, threshold=0.5))
    assert nobody["f1"].value == 0
    assert math.isnan(nobody["f1"].low)
    assert math.isnan(nobody["precision"].value)
    one_class = estimates(resample(np.zeros(9, int), np.full((1, 9), 0.2), np.arange(9), threshold=0.5))
    assert math.isnan(one_class["auc"].value)


def test_mcnemar_by_hand() -> None:
    labels = np.zeros(20, int)
    first, second = np.zeros(20, int), np.zeros(20, int)
    first[:2], second[2:10] = 1, 1  # first wrong in 2, second in 8 others
    found = mcnemar(labels, first, second)
    tail = sum(math.comb(10, k) for k in range(3)) / 2**10
    assert found.difference == pytest.approx(6 / 20)
    assert found.p == pytest.approx(2 * tail)
    assert mcnemar(labels, first, first).p == 1.0


def test_paired_delong_agrees_with_the_paired_bootstrap() -> None:
    rng = np.random.default_rng(3)
    base = binormal(rng)
    first, second = base, 0.7 * base + rng.normal(0, 0.8, 181) + 0.3 * LABELS
    found = delong_paired(LABELS, first[None], second[None])
    weights = bootstrap_weights(LABELS, PATIENTS)
    drawn = bootstrap_paired(
        found.difference, resampled_auc(LABELS, first[None], weights) - resampled_auc(LABELS, second[None], weights)
    )
    assert found.difference == pytest.approx(
        metrics.roc_auc_score(LABELS, first) - metrics.roc_auc_score(LABELS, second)
    )
    assert (found.low, found.high) == pytest.approx((drawn.low, drawn.high), abs=0.012)
    same = delong_paired(LABELS, first[None], first[None])
    assert (same.difference, same.p) == (0, 1)


def test_comparing_an_experiment_with_itself_finds_nothing() -> None:
    scored = resample(LABELS, SCORES[None], PATIENTS, threshold=0.5)
    found = compare(scored, scored)
    assert {name: comparison.p for name, comparison in found.items()} == {"f1": 1.0, "auc": 1.0, "accuracy": 1.0}
    assert {name: comparison.test for name, comparison in found.items()} == {
        "f1": "paired bootstrap", "auc": "paired DeLong", "accuracy": "exact McNemar",
    }  # fmt: skip


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02, math.nan, 0.01])[0::2] == pytest.approx([0.02, 0.02])
    assert holm([]) == []


@pytest.mark.slow
def test_intervals_cover_what_they_should() -> None:
    """1000 test sets of 42 and 139; the documentation quotes what this prints."""
    rng = np.random.default_rng(4)
    separation, cut = 1.6, 0.8
    true_auc = stats.norm.cdf(separation / math.sqrt(2))
    sensitivity, false_alarm = stats.norm.sf(cut - separation), stats.norm.sf(cut)
    true_f1 = 2 * 42 * sensitivity / (42 + 42 * sensitivity + 139 * false_alarm)
    inside = {"auc": 0, "f1": 0, "sensitivity": 0}
    for _ in range(1000):
        found = estimates(resample(LABELS, binormal(rng, separation)[None], PATIENTS, threshold=cut))
        for name, truth in (("auc", true_auc), ("f1", true_f1), ("sensitivity", sensitivity)):
            inside[name] += found[name].contains(truth)
    print(inside)
    assert all(925 <= count <= 975 for count in inside.values()), inside

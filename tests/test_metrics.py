"""Metrics against scikit-learn, hand calculation and the counts printed in the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from dxa_tbs.evaluation.metrics import best_f1_threshold, binary_auc, binary_metrics, score_warnings
from dxa_tbs.report.paper import RESULTS, PrintedRow

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1], [139, 42])
SCORES = np.clip(RNG.normal(0.35, 0.2, 181) + 0.25 * LABELS, 0, 1)


def test_metrics_by_hand() -> None:
    labels, scores = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.5, 0.7, 0.4, 0.9])
    result = binary_metrics(labels, scores, 0.5)
    assert [result[name] for name in ("tp", "fp", "tn", "fn")] == [1, 2, 1, 1]
    assert result["accuracy"] == pytest.approx(2 / 5)
    assert result["sensitivity"] == pytest.approx(1 / 2)
    assert result["specificity"] == pytest.approx(1 / 3)
    assert result["precision"] == pytest.approx(1 / 3)
    assert result["f1"] == pytest.approx(2 / 5)
    assert result["auc"] == pytest.approx(4 / 6)  # of 6 pairs, 0.9 beats three and 0.4 beats one
    assert result["auc_hard"] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_metrics_agree_with_scikit_learn() -> None:
    result, calls = binary_metrics(LABELS, SCORES, 0.5), SCORES >= 0.5
    assert result["f1"] == metrics.f1_score(LABELS, calls)
    assert result["auc"] == metrics.roc_auc_score(LABELS, SCORES)
    assert result["auc_hard"] == pytest.approx(metrics.balanced_accuracy_score(LABELS, calls))
    assert result["auc"] != pytest.approx(result["auc_hard"], abs=0.01)


@pytest.mark.parametrize("row", [row for table in RESULTS for row in table.rows.values()])
def test_the_papers_counts_give_the_papers_metrics(row: PrintedRow) -> None:
    scores = np.repeat([1.0, 0.0, 1.0, 0.0], [row.tp, row.fn, row.fp, row.tn])
    result = binary_metrics(np.repeat([1, 0], [row.tp + row.fn, row.fp + row.tn]), scores, 0.5)
    assert (row.tp + row.fn, row.fp + row.tn) == (42, 139)
    for name in ("accuracy", "sensitivity", "specificity", "f1"):
        assert result[name] == pytest.approx(getattr(row, name), abs=0.001)  # the paper truncates three of its values


def test_undefined_metrics_are_nan_and_not_zero() -> None:
    nobody = binary_metrics(LABELS, np.zeros(181), 0.5)
    assert math.isnan(nobody["precision"])
    assert nobody["f1"] == 0.0
    one_class = binary_metrics(np.zeros(5, int), np.full(5, 0.2), 0.5)
    assert math.isnan(one_class["auc"])
    assert math.isnan(one_class["sensitivity"])
    assert one_class["specificity"] == 1.0


def test_a_score_at_the_threshold_is_called_degraded() -> None:
    assert binary_metrics(np.array([1, 0]), np.array([0.5, 0.4999]), 0.5)["tp"] == 1


def test_ties_between_classes_count_one_half() -> None:
    assert binary_auc(np.array([0, 1]), np.array([0.3, 0.3])) == 0.5


def test_the_chosen_threshold_has_the_highest_f1() -> None:
    chosen = best_f1_threshold(LABELS, SCORES)
    f1 = {threshold: metrics.f1_score(LABELS, threshold <= SCORES) for threshold in np.unique(SCORES)}
    assert f1[chosen] == max(f1.values())


def test_the_threshold_nearest_to_one_half_wins_a_tie() -> None:
    assert best_f1_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.6, 0.9])) == 0.6


def test_constant_and_one_class_scores_give_a_warning() -> None:
    assert "constant outputs" in score_warnings(np.full(9, 0.3), threshold=0.5, split="val")[0]
    for scores, name in ((np.linspace(0, 0.4, 9), "Normal"), (np.linspace(0.6, 1, 9), "Degraded")):
        assert f"every test image is called {name}" in score_warnings(scores, threshold=0.5, split="test")[0]
    assert score_warnings(SCORES, threshold=0.5, split="test") == []

"""Variances and intervals against scikit-learn, published figures, hand calculation, brute force and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from dxa_tbs.evaluation.auc import auc_limits, hanley_mcneil, placements
from dxa_tbs.evaluation.intervals import estimate, estimates, proportion, wilson, wilson_limits
from dxa_tbs.evaluation.measured import build_scored, measure, variance_of
from dxa_tbs.evaluation.rates import METRICS, counts, metrics_of_counts
from dxa_tbs.evaluation.roc import GRID, draw_patients, roc_band
from dxa_tbs.evaluation.variance import Variance, add_variances, between_patients, between_trainings
from dxa_tbs.report.numbers.paper_difference import printed_estimates
from dxa_tbs.report.paper import RESULTS

LABELS = np.repeat([1, 0], [42, 139])
PATIENTS = np.arange(181)


def binormal(rng: np.random.Generator, separation: float = 1.6) -> np.ndarray:
    return rng.normal(0, 1, 181) + separation * LABELS


SCORES = stats.norm.cdf(binormal(np.random.default_rng(0)) - 0.8)


def test_wilsons_formula_and_the_papers_squeezenet() -> None:
    z, n, p = stats.norm.ppf(0.975), 42, 33 / 42
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = wilson(33, 42)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half))
    assert (round(found.low, 3), round(found.high, 3)) == (0.641, 0.883)
    nothing = wilson(0, 0)
    assert math.isnan(nothing.value)
    assert nothing.method == "none"


def test_placements_and_their_variance_by_hand() -> None:
    """Hanley and McNeil's definition, pair by pair; the variance from the (n - 1) variances of the placements."""
    labels, scores = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([0.9, 0.6, 0.4, 0.7, 0.4, 0.2, 0.1])
    wins = np.array([[(p > q) + (p == q) / 2 for q in scores[3:]] for p in scores[:3]])
    above, below = placements(labels, scores)
    assert above == pytest.approx(wins.mean(axis=1))
    assert below == pytest.approx(wins.mean(axis=0))
    scored = build_scored(labels, scores[None], np.arange(7), threshold=0.5)
    assert scored.auc.value == pytest.approx(wins.mean())
    parts = wins.mean(axis=1).var(ddof=1) / 3, wins.mean(axis=0).var(ddof=1) / 4
    found = variance_of(scored.auc, scored, training=True)
    assert found.value == pytest.approx(sum(parts))
    assert found.df == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3))


def test_the_variance_of_the_auc_on_a_published_example() -> None:
    """Hanley and McNeil's 109 CT images, rated 1 to 5 (Radiology 143:29, 1982, Table I).

    Stata's manual (roctab) prints the area 0.8932 and DeLong's standard error 0.0307.
    """
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    labels = np.repeat([0, 1], [sum(normal), sum(abnormal)])
    ratings = np.repeat([1, 2, 3, 4, 5] * 2, normal + abnormal).astype(float)
    scored = build_scored(labels, ratings[None], np.arange(109), threshold=3)
    variance = variance_of(scored.auc, scored, training=True)
    error = math.sqrt(variance.value)
    assert (scored.auc.value, error) == pytest.approx((0.8932, 0.0307), abs=5e-5)
    found = estimate(scored, "auc")
    spread = math.log(found.high / (1 - found.high)) - math.log(found.low / (1 - found.low))
    auc = scored.auc.value
    assert spread == pytest.approx(2 * stats.t.ppf(0.975, variance.df) * error / (auc * (1 - auc)))
    assert found.method == "DeLong, logit"


def test_near_one_the_limits_solve_newcombes_equation() -> None:
    for auc in (0.96, 0.995, 1.0):
        low, high, method = auc_limits(auc, Variance(0.0, math.inf), num_positive=42, num_negative=139, misplaced=0)
        assert method == "Newcombe 5"
        for limit in (low, high):
            reach = stats.norm.ppf(0.975) * math.sqrt(hanley_mcneil(limit, 42, 139))
            assert abs(auc - limit) == pytest.approx(reach, abs=1e-6)
    assert high == 1
    mirrored = auc_limits(0.005, Variance(0.0, math.inf), num_positive=42, num_negative=139, misplaced=9)
    of_best = auc_limits(0.995, Variance(0.0, math.inf), num_positive=42, num_negative=139, misplaced=9)
    assert mirrored[:2] == pytest.approx((1 - of_best[1], 1 - of_best[0]), abs=1e-9)


def test_separated_classes_have_an_interval() -> None:
    found = estimates(build_scored(LABELS, LABELS[None].astype(float), PATIENTS, threshold=0.5))
    assert {name: one.value for name, one in found.items()} == dict.fromkeys([*METRICS, "auc"], 1.0)
    assert all(0.8 < one.low < 1 for one in found.values())
    assert all(one.high == pytest.approx(1) for one in found.values())


@pytest.mark.parametrize("metric", [*METRICS, "auc"])
def test_influences_are_derivatives_with_respect_to_the_weights_of_images(metric: str) -> None:
    """Give one image slightly more weight within its class: the metric changes in proportion to its influence."""
    rng = np.random.default_rng(1)
    labels, scores = LABELS[::4], rng.random((2, 46)).round(1)
    scored = build_scored(labels, scores, np.arange(46), threshold=0.5)

    def weighted(weights: np.ndarray, row: np.ndarray) -> float:
        calls, positive = row >= 0.5, labels == 1
        if metric == "auc":
            pairs = np.outer(weights[positive], weights[~positive])
            wins = (row[positive][:, None] > row[~positive]) + 0.5 * (row[positive][:, None] == row[~positive])
            return float((pairs * wins).sum() / pairs.sum())
        rates = [(weights * calls)[positive].sum() / weights[positive].sum()]
        rates += [(weights * ~calls)[~positive].sum() / weights[~positive].sum()]
        tp, tn = rates[0] * positive.sum(), rates[1] * (~positive).sum()  # the classes keep their sizes
        cells = {"tp": tp, "tn": tn, "fn": positive.sum() - tp, "fp": (~positive).sum() - tn}
        return float(metrics_of_counts({name: np.array(cell) for name, cell in cells.items()})[metric])

    found = measure(scored, metric).influence
    for image in (0, 5, 10, 11, 30, 45):
        more, less = np.ones(46), np.ones(46)
        more[image], less[image] = 1 + 1e-4, 1 - 1e-4
        slope = np.mean([(weighted(more, row) - weighted(less, row)) / 2e-4 for row in scores])
        assert found[image] == pytest.approx(slope, abs=1e-6)


def test_metrics_of_calls_agree_with_scikit_learn() -> None:
    calls = SCORES >= 0.5
    found = {name: value[0] for name, value in metrics_of_counts(counts(LABELS, calls[None])).items()}
    assert found["f1"] == pytest.approx(metrics.f1_score(LABELS, calls))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(LABELS, calls))
    assert found["auc_hard"] == pytest.approx(metrics.balanced_accuracy_score(LABELS, calls))
    assert found["precision"] == pytest.approx(metrics.precision_score(LABELS, calls))


def test_errors_agree_with_the_bootstrap_over_patients() -> None:
    """Two images per patient, in some patients one of each class; two repeats."""
    rng = np.random.default_rng(2)
    labels, patients = np.repeat(LABELS, 2), np.repeat(PATIENTS, 2)
    labels[np.arange(1, 84, 6)] = 0  # 14 patients with both
    shared = np.repeat(rng.normal(0, 1, 181), 2)
    scores = stats.norm.cdf([0.8 * shared + 0.6 * rng.normal(0, 1, 362) + 1.2 * labels - 0.6 for _ in range(2)])
    scored = build_scored(labels, scores, patients, threshold=0.5)
    drawn = [np.concatenate([rng.integers(0, 42, 42), rng.integers(42, 181, 139)]) for _ in range(2000)]
    values = {"auc": [], "f1": [], "accuracy": []}
    for patient in drawn:
        rows = np.stack([2 * patient, 2 * patient + 1], axis=1).ravel()
        again = build_scored(labels[rows], scores[:, rows], np.arange(len(rows)), threshold=0.5)
        for name, of_metric in values.items():
            of_metric.append(measure(again, name).value)
    for name, of_metric in values.items():
        found = math.sqrt(variance_of(measure(scored, name), scored, training=False).value)
        assert found == pytest.approx(np.std(of_metric), rel=0.08), name


def test_copies_of_an_image_add_no_evidence() -> None:
    once = estimates(build_scored(LABELS, SCORES[None], PATIENTS, threshold=0.5))
    copies = build_scored(np.repeat(LABELS, 4), np.repeat(SCORES, 4)[None], np.repeat(PATIENTS, 4), threshold=0.5)
    for metric, found in estimates(copies).items():
        assert found.value == pytest.approx(once[metric].value)
        assert found.high - found.low == pytest.approx(once[metric].high - once[metric].low, rel=0.06), metric


def test_copies_of_a_class_do_not_narrow_the_interval_of_an_auc_of_one() -> None:
    patients = np.concatenate([np.repeat(np.arange(5), 8), np.arange(5, 105)])
    labels = (patients < 5).astype(int)
    copied = estimate(build_scored(labels, labels[None].astype(float), patients, threshold=0.5), "auc")
    labels = np.repeat([1, 0], [5, 100])
    once = estimate(build_scored(labels, labels[None].astype(float), np.arange(105), threshold=0.5), "auc")
    assert copied.low <= once.low + 1e-9


@pytest.mark.parametrize("size", [(42, 139), (15, 45), (370, 1095), (8, 17), (7, 93)])
@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
@pytest.mark.parametrize("kind", ["perfect", "all normal", "all degraded"])
def test_constant_calls_have_an_interval_of_positive_width(size: tuple[int, int], seeds: int, kind: str) -> None:
    labels = np.repeat([1, 0], size)
    row = {"perfect": labels, "all normal": 0 * labels, "all degraded": 0 * labels + 1}[kind].astype(float)
    scored = build_scored(labels, np.tile(row, (seeds, 1)), np.arange(sum(size)), threshold=0.5)
    for training in (True, False):
        for metric, found in estimates(scored, training=training).items():
            if not math.isnan(found.value) and metric != "auc":
                assert found.high - found.low > 1e-3, (metric, found)
                assert found.low - 1e-9 <= found.value <= found.high + 1e-9


def test_the_order_of_repeats_with_constant_calls_does_not_matter() -> None:
    labels = np.repeat([1, 0], [20, 40])
    rows = np.stack([np.ones(60), np.zeros(60)])
    both = [build_scored(labels, scores, np.arange(60), threshold=0.5) for scores in (rows, rows[::-1])]
    for training in (True, False):
        found = [estimates(scored, training=training) for scored in both]
        for metric in (*METRICS, "auc"):
            one, other = found[0][metric], found[1][metric]
            assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), nan_ok=True)
            assert math.isnan(one.value) or one.low <= one.value <= one.high


def test_the_interval_of_clustered_images_lies_between_those_of_images_and_of_patients() -> None:
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(40), 3)
    hits = rng.random(120) < np.repeat(rng.beta(4, 1, 40), 3)
    found = proportion(hits, patients)
    widths = [high - low for low, high in (wilson_limits(found.value, 120), wilson_limits(found.value, 40))]
    assert widths[0] < found.high - found.low < 1.05 * widths[1]
    assert proportion(np.ones(120, bool), patients).low == pytest.approx(
        wilson_limits(1.0, 40, stats.t.ppf(0.975, 39))[0]
    )


def test_several_seeds_add_the_variance_over_trainings() -> None:
    rng = np.random.default_rng(4)
    scored = build_scored(
        LABELS, np.stack([binormal(rng, shift) for shift in (1.0, 1.6, 2.2)]), PATIENTS, threshold=0.8
    )
    aucs = np.array([metrics.roc_auc_score(LABELS, row) for row in scored.scores])
    alone, both = (variance_of(scored.auc, scored, training=training) for training in (False, True))
    of_training = aucs.var(ddof=1) / 3
    assert both.value == pytest.approx(alone.value + of_training)
    assert both.df == pytest.approx(both.value**2 / (alone.value**2 / alone.df + of_training**2 / 2))
    narrow, wide = (estimate(scored, "auc", training=training) for training in (False, True))
    assert narrow.value == wide.value == pytest.approx(aucs.mean())
    assert wide.low < narrow.low < narrow.high < wide.high


def test_failed_trainings_widen_the_interval() -> None:
    """Sensitivities of 29, 1 and 0 of 30: their mean says little about a fourth training."""
    labels = np.repeat([1, 0], [30, 90])
    calls = np.zeros((3, 120))
    calls[0, :29], calls[1, :1] = 1, 1
    scored = build_scored(labels, calls, np.arange(120), threshold=0.5)
    found, narrow = (estimate(scored, "sensitivity", training=training) for training in (True, False))
    assert found.value == pytest.approx(1 / 3)
    assert found.low < 0.05
    assert found.high > 0.9
    assert narrow.high - narrow.low < 0.3


def test_folds_are_averaged_and_the_larger_variance_counts() -> None:
    rng = np.random.default_rng(5)
    folds = np.tile(np.arange(3), 61)[:181]
    shifted = build_scored(LABELS, (SCORES + folds)[None], PATIENTS, threshold=0.5, folds=folds)
    aucs = [metrics.roc_auc_score(LABELS[folds == fold], SCORES[folds == fold]) for fold in range(3)]
    assert shifted.auc.value == pytest.approx(np.mean(aucs))  # each network has its own scale
    within = 0.0
    for label in (1, 0):  # LeDell's variance, by hand for folds of any size
        centred = []
        for fold in range(3):
            found = placements(LABELS[folds == fold], SCORES[folds == fold])[1 - label]
            centred.append((found - found.mean()) / (3 * len(found)))
        count = len(np.concatenate(centred))
        within += count / (count - 3) * (np.concatenate(centred) ** 2).sum()
    alone, both = (variance_of(shifted.auc, shifted, training=training) for training in (False, True))
    assert alone.value == pytest.approx(within)
    assert both.value == pytest.approx(max(within, np.var(aucs, ddof=1) / 3))
    failed = np.where(folds == 0, rng.random(181), SCORES)
    two_seeds = build_scored(LABELS, np.stack([SCORES, failed]), PATIENTS, threshold=0.5, folds=folds)
    found = variance_of(two_seeds.auc, two_seeds, training=True)
    alone = variance_of(two_seeds.auc, two_seeds, training=False)
    over_folds = between_trainings(two_seeds.auc.of_trainings.mean(axis=0)[:, None])
    assert found.value == pytest.approx(
        max(alone.value + between_trainings(two_seeds.auc.of_trainings).value, over_folds.value)
    )
    unlike = build_scored(LABELS, failed[None], PATIENTS, threshold=0.5, folds=folds)
    of_folds = unlike.auc.of_trainings[0]
    found = variance_of(unlike.auc, unlike, training=True)
    assert (found.value, found.df) == (pytest.approx(of_folds.var(ddof=1) / 3), 2)


def test_seeds_within_folds_count_as_separate_trainings() -> None:
    values = np.array([[0.8, 0.9, 0.7], [0.84, 0.86, 0.76]])
    found = between_trainings(values)
    assert found.value == pytest.approx(values.var(axis=0, ddof=1).mean() / 6)
    assert found.df == 3


def test_variances_add_up_by_satterthwaites_formula() -> None:
    found = add_variances(Variance(4.0, 10), Variance(1.0, 2))
    assert (found.value, found.df) == (5.0, pytest.approx(25 / (16 / 10 + 1 / 2)))
    assert add_variances(Variance(0.0, 7), Variance(0.0, 1)).df == 7


def test_the_method_depends_on_metric_and_number_of_seeds() -> None:
    one = estimates(build_scored(LABELS, SCORES[None], PATIENTS, threshold=0.5))
    assert {name: found.method for name, found in one.items()} == {
        "accuracy": "Wilson", "sensitivity": "Wilson", "specificity": "Wilson", "precision": "MOVER",
        "f1": "MOVER", "auc_hard": "MOVER", "mcc": "MOVER", "auc": "DeLong, logit",
    }  # fmt: skip
    rng = np.random.default_rng(6)
    several = build_scored(LABELS, stats.norm.cdf([binormal(rng) - 0.8 for _ in range(3)]), PATIENTS, threshold=0.5)
    found = estimates(several)
    assert {found[name].method for name in METRICS} == {"delta"}
    assert found["f1"].value == pytest.approx(np.mean([metrics.f1_score(LABELS, row) for row in several.calls]))


def test_predictive_values_follow_bayes_rule() -> None:
    labels, scores = np.repeat([1, 1, 0, 0], [8, 2, 18, 2]), np.repeat([1.0, 0.0, 0.0, 1.0], [8, 2, 18, 2])
    scored = build_scored(labels, scores[None], np.arange(30), threshold=0.5)  # sensitivity .8, specificity .9
    ppv, npv = (estimate(scored, metric, ratio=9.0) for metric in ("precision", "negative_precision"))
    assert ppv.value == pytest.approx(0.08 / 0.17)
    assert npv.value == pytest.approx(0.81 / 0.83)
    assert ppv.low < ppv.value < ppv.high
    nobody = build_scored(labels, np.zeros((1, 30)), np.arange(30), threshold=0.5)
    assert math.isnan(estimate(nobody, "precision", ratio=9.0).value)


def test_undefined_metrics_have_no_interval() -> None:
    nobody = estimates(build_scored(LABELS, np.zeros((1, 181)), PATIENTS, threshold=0.5))
    assert (nobody["f1"].value, nobody["f1"].low) == (0, 0)
    assert nobody["f1"].high == pytest.approx(0.13, abs=0.03)  # from Wilson's limit of no hit among 42
    assert math.isnan(nobody["precision"].value)
    one_class = estimates(build_scored(np.zeros(9, int), np.full((1, 9), 0.2), np.arange(9), threshold=0.5))
    assert math.isnan(one_class["auc"].value)
    assert one_class["specificity"].low == wilson(9, 9).low
    lone = estimates(build_scored(LABELS[41:], SCORES[None, 41:], PATIENTS[41:], threshold=0.5))  # one is positive
    assert math.isnan(lone["auc"].low)


def test_printed_values_get_intervals_from_the_papers_counts() -> None:
    found = printed_estimates(RESULTS[0].rows["squeezenet"])
    assert found["sensitivity"].value == 0.786
    assert (found["sensitivity"].low, found["sensitivity"].high) == wilson_limits(33 / 42, 42)
    assert found["auc"].method == "Newcombe 5"
    assert found["auc"].low < 0.828 < found["auc"].high
    assert "auc_hard" not in found


def test_the_roc_band_contains_the_curve_and_the_area_under_it_is_the_auc() -> None:
    folds = np.tile([0, 1], 91)[:181]
    scored = build_scored(LABELS, SCORES[None], PATIENTS, threshold=0.5, folds=folds)
    mean, low, high = roc_band(scored, resamples=200)
    assert (low <= mean + 1e-9).all()
    assert (mean <= high + 1e-9).all()
    assert np.trapezoid(mean, GRID) == pytest.approx(scored.auc.value, abs=0.01)
    weights = draw_patients(scored, resamples=50)
    for fold in (0, 1):
        for label in (0, 1):
            chosen = (folds == fold) & (label == LABELS)
            assert (weights[:, chosen].sum(axis=1) == chosen.sum()).all()


def test_patients_are_drawn_with_all_their_images() -> None:
    scored = build_scored(np.repeat(LABELS, 4), np.repeat(SCORES, 4)[None], np.repeat(PATIENTS, 4), threshold=0.5)
    weights = draw_patients(scored, resamples=50)
    assert (weights.reshape(50, -1, 4) == weights[:, ::4, None]).all()


def test_the_variance_of_a_class_with_one_patient_is_not_defined() -> None:
    found = between_patients(np.zeros(4), np.array([1, 1, 0, 0]), np.array([0, 0, 1, 2]))
    assert math.isnan(found.value)

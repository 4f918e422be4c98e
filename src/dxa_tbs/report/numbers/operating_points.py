"""What one would act on: operating points, whether scores are probabilities, net benefit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.calibration import calibration, reliability
from dxa_tbs.evaluation.decisions import net_benefit
from dxa_tbs.evaluation.intervals import Estimate, estimate, estimates, no_interval
from dxa_tbs.evaluation.measured import Scored, build_scored
from dxa_tbs.report.documents import Document, between, number, with_interval
from dxa_tbs.report.footnotes import title
from dxa_tbs.report.runs import Experiment

DIGITS = 6  # of what iterative fits find: what lies behind depends on the version of the libraries
RISKS = np.round(np.arange(0.05, 1.0, 0.05), 2)  # from which one would act, in the decision curve
CLUSTERED = "none where patients have several images"
SCORES = "the scores as trained, which are risks only as far as they are calibrated: augmentation moves them"
TEST_SHARE = "at the share of Degraded of the test set, whatever prevalence was given for PPV and NPV"
PRINTED_RISKS = (0.1, 0.2, 0.3, 0.5)
FITTED = {"brier": "Brier", "log_loss": "Log loss", "slope": "Slope", "intercept": "Intercept"}


def operating_document(experiments: Sequence[Experiment], prevalence: float | None, banner: Sequence[str]) -> Document:
    """Return both thresholds side by side: the fixed one and the one of the best F1 on validation.

    Args:
        prevalence: share of Degraded for which PPV and NPV are computed; None: that of the test set.
    """
    rows = [row for one in experiments for row in _points(one, prevalence)]
    columns = {"sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1-Score", "ppv": "PPV", "npv": "NPV"}
    printed = pd.DataFrame(
        [
            {
                "Experiment": row["experiment"],
                "Threshold": f"{row['rule']}: {number(row['threshold'])}",
                "Prevalence": number(row["prevalence"]),
            }
            | {text: with_interval(row[name]) for name, text in columns.items()}
            for row in rows
        ]
    )
    numbers = pd.DataFrame([_flat(row) for row in rows])
    notes = [
        *banner,
        "validation: the threshold of the best F1 on validation; each seed and fold has its own, the mean is printed",
        *_old_thresholds(experiments),
        "PPV and NPV by Bayes' rule from sensitivity and specificity; the prevalence is "
        + ("that of the test set: give --prevalence for another" if prevalence is None else "the one given"),
    ]
    return Document("operating_points", "Operating points", numbers, printed, notes)


def calibration_document(experiments: Sequence[Experiment], banner: Sequence[str]) -> Document:
    """Return Brier score, log loss, slope, intercept and ECE, as trained and after temperature scaling."""
    rows: list[dict[str, Any]] = []
    for one in _with_both_classes(experiments):
        for kind, column in (("as trained", "score"), ("temperature", "tempered")):
            scores = one.of_test_images(column)
            if np.isnan(scores).any():
                continue
            temperature = float(np.mean([run.temperature for run in one.runs])) if kind == "temperature" else math.nan
            found = calibration(one.scored.labels, scores, one.scored.patients)
            low, high = (math.nan, math.nan) if one.scored.is_clustered else found.ece_if_perfect
            values = {"ece": found.ece, "ece_if_perfect_low": low, "ece_if_perfect_high": high}
            values |= _flat({name: getattr(found, name) for name in FITTED})
            names = {"experiment": title(one), "run": one.folder, "n": len(one.scored.labels), "scores": kind}
            rounded = {name: round(value, DIGITS) for name, value in values.items()}
            rows.append({**names, "temperature": round(temperature, 3), **rounded, "no_slope": found.no_slope})
    printed = pd.DataFrame(
        {
            "Experiment": row["experiment"],
            "Scores": "as trained" if math.isnan(row["temperature"]) else f"temperature {row['temperature']:.3f}",
            "n": str(row["n"]),
            **{text: with_interval(_unflat(row, name)) for name, text in FITTED.items() if name != "slope"},
            "Slope": "not estimable" if row["no_slope"] else with_interval(_unflat(row, "slope")),
            "ECE": number(row["ece"]),
            "ECE if perfect, 95 %": between(row["ece_if_perfect_low"], row["ece_if_perfect_high"]),
        }
        for row in rows
    )
    reasons = sorted({row["no_slope"] for row in rows} - {""})
    notes = [
        *banner,
        "slope 1 and intercept 0 are perfect; a slope below 1: too sure. ECE over ten bins of equal counts is biased "
        f"upwards: beside it, where it would lie if these very scores were the true probabilities, {CLUSTERED}",
        "temperature: fitted on the validation originals of each run, applied to test; the mean over runs is printed; "
        "50 is its bound: scores that say nothing there",
        *(f"slope not estimable: {reason}" for reason in reasons),
    ]
    return Document("calibration", "Calibration", pd.DataFrame(rows), printed, notes)


def reliability_document(experiments: Sequence[Experiment], banner: Sequence[str]) -> Document:
    """Return the bins of the reliability diagram of each experiment's first seed."""
    rows = []
    for one in _with_both_classes(experiments):
        for place, found in enumerate(reliability(one.scored.labels, one.scored.scores[0]), start=1):
            names = {"experiment": title(one), "run": one.folder, "bin": place, "count": found.count}
            share = (
                Estimate(found.observed.value, math.nan, math.nan, "none")
                if one.scored.is_clustered
                else found.observed
            )
            rows.append({**names, "mean_score": found.mean_score, **dataclasses.asdict(share)})
    printed = pd.DataFrame(
        {
            "Experiment": row["experiment"],
            "Bin": str(row["bin"]),
            "Images": str(row["count"]),
            "Mean score": number(row["mean_score"]),
            "Share Degraded": with_interval(Estimate(row["value"], row["low"], row["high"], "")),
        }
        for row in rows
    )
    notes = [*banner, f"bins of as equal counts as the scores allow, of the first seed; Wilson intervals, {CLUSTERED}"]
    return Document("reliability", "Reliability diagram, in numbers", pd.DataFrame(rows), printed, notes)


def decision_document(experiments: Sequence[Experiment], banner: Sequence[str]) -> Document:
    """Return the net benefit over the risks from which one would act, against calling all or none Degraded."""
    both = _with_both_classes(experiments)
    rows = []
    for one in {one.test_set: one for one in both}.values():
        name = "call all Degraded" + (f", {one.set_name}" if one.set_name else "")
        rows += _curve(name, "", one.test_set, _net_benefits(one.scored, np.ones((1, len(one.scored.labels)))))
    for one in both:
        rows += _curve(title(one), one.folder, one.test_set, _net_benefits(one.scored, one.scored.scores))
    frame = pd.DataFrame(rows)
    printed = pd.DataFrame(
        {"Experiment": name}
        | {
            f"risk {row.risk:.2f}": with_interval(Estimate(row.net_benefit, row.low, row.high, ""))
            for row in part.itertuples()
            if row.risk in PRINTED_RISKS
        }
        for (name, *_), part in (frame.groupby(["experiment", "run", "test_set"], sort=False) if rows else ())
    )
    notes = [
        *banner,
        "true positives per image less false positives weighted by the odds of the risk; calling none: 0",
        SCORES,
    ]
    return Document("decision_curve", "Decision curve: net benefit", frame, printed, notes)


def _points(one: Experiment, prevalence: float | None) -> list[dict[str, Any]]:
    scores, own = one.scored.scores, one.of_test_images("threshold")
    chosen = build_scored(one.scored.labels, scores, one.scored.patients, threshold=own, folds=one.scored.folds)
    fixed = float(one.first.facts["thresholds"]["fixed"])
    share = float(one.scored.labels.mean()) if prevalence is None else prevalence
    rows = []
    for rule, threshold, scored in (("fixed", fixed, one.scored), ("validation", float(own.mean()), chosen)):
        found = estimates(scored)
        names = {"experiment": title(one), "run": one.folder, "rule": rule, "threshold": threshold}
        metrics = {name: found[name] for name in ("sensitivity", "specificity", "f1")}
        rows.append({**names, "prevalence": share, **metrics, **_predictive(scored, share)})
    return rows


def _old_thresholds(experiments: Sequence[Experiment]) -> list[str]:
    old = [title(one) for one in experiments if any(run.threshold_saw_copies for run in one.runs)]
    text = "chosen by version 0.1.0 with augmented copies among the validation images: the threshold of "
    return [text + "; ".join(old)] if old else []


def _predictive(scored: Scored, prevalence: float) -> dict[str, Estimate]:
    """Return PPV and NPV where that share of patients is Degraded; sensitivity and specificity are the test set's."""
    if not scored.has_both_classes:
        return {"ppv": no_interval(math.nan), "npv": no_interval(math.nan)}
    ratio = (1 - prevalence) / prevalence
    return {
        "ppv": estimate(scored, "precision", ratio=ratio),
        "npv": estimate(scored, "negative_precision", ratio=ratio),
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Estimate):
            flat |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            flat[name] = value
    return flat


def _net_benefits(scored: Scored, scores: np.ndarray) -> list[Estimate]:
    return [net_benefit(scored.labels, scores, scored.patients, risk) for risk in RISKS]


def _unflat(row: dict[str, Any], name: str) -> Estimate:
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], "")


def _curve(name: str, run: str, test_set: str, values: Sequence[Estimate]) -> list[dict[str, Any]]:
    names = {"experiment": name, "run": run, "test_set": test_set}
    return [
        {**names, "risk": risk, "net_benefit": one.value, "low": one.low, "high": one.high}
        for risk, one in zip(RISKS, values, strict=True)
    ]


def _with_both_classes(experiments: Sequence[Experiment]) -> list[Experiment]:
    return [one for one in experiments if len(np.unique(one.scored.labels)) == 2]

"""Calibration: whether scores are probabilities, as trained and after temperature scaling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.calibration import calibration, reliability
from dxa_tbs.evaluation.intervals import Estimate
from dxa_tbs.report.documents import Document, between, number, with_interval
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain_marks
from dxa_tbs.report.labels import naming_columns, printed_name
from dxa_tbs.report.numbers.columns import estimate_columns, read_estimate
from dxa_tbs.report.study import Study

DIGITS = 6  # of iterative fits: further digits depend on the versions of the libraries
FITTED = {"brier": "Brier", "log_loss": "Log loss", "slope": "Slope", "intercept": "Intercept"}
CLUSTERED = "none if patients have several images"


def calibration_table(study: Study) -> list[Document]:
    """Return Brier score, log loss, slope, intercept and expected calibration error (ECE)."""
    both = [one for one in study.experiments if one.scored.has_both_classes]
    rows = [row for one in both for row in _of_experiment(one)]
    notes = [
        *study.banner,
        "slope 1 and intercept 0 are perfect; a slope below 1: the scores are too extreme. The ECE, over ten bins of "
        "equal counts, is biased upwards: beside it is its range if these very scores were the true probabilities, "
        f"{CLUSTERED}",
        "temperature: fitted on the validation originals of each run, applied to test; the mean over runs is printed; "
        "50 is its bound: scores that say nothing there",
        *(f"slope not estimable: {reason}" for reason in sorted({row["no_slope"] for row in rows} - {""})),
        *explain_marks(both),
    ]
    return [Document("calibration", "Calibration", pd.DataFrame(rows), _print(rows), notes)]


def _of_experiment(one: Experiment) -> Iterator[dict[str, Any]]:
    for kind, column in (("as trained", "score"), ("temperature", "tempered")):
        scores = one.of_test_images(column)
        if np.isnan(scores).any():
            continue
        temperature = float(np.mean([run.temperature for run in one.runs])) if kind == "temperature" else math.nan
        found = calibration(one.scored.labels, scores, one.scored.patients)
        low, high = (math.nan, math.nan) if one.scored.is_clustered else found.ece_if_perfect
        values = {"ece": found.ece, "ece_if_perfect_low": low, "ece_if_perfect_high": high}
        values |= estimate_columns({name: getattr(found, name) for name in FITTED})
        names = naming_columns(one) | {"n": len(one.scored.labels), "scores": kind}
        rounded = {name: round(value, DIGITS) for name, value in values.items()}
        yield {**names, "temperature": round(temperature, 3), **rounded, "no_slope": found.no_slope}


def _print(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **printed_name(row),
            "Scores": "as trained" if math.isnan(row["temperature"]) else f"temperature {row['temperature']:.3f}",
            "n": str(row["n"]),
            **{text: with_interval(read_estimate(row, name)) for name, text in FITTED.items() if name != "slope"},
            "Slope": "not estimable" if row["no_slope"] else with_interval(read_estimate(row, "slope")),
            "ECE": number(row["ece"]),
            "ECE if perfect, 95 %": between(row["ece_if_perfect_low"], row["ece_if_perfect_high"]),
        }
        for row in rows
    )


def reliability_table(study: Study) -> list[Document]:
    """Return the bins of the reliability diagram of each experiment's first seed."""
    both = [one for one in study.experiments if one.scored.has_both_classes]
    frame = pd.DataFrame(row for one in both for row in _bins(one))
    notes = [
        *study.banner,
        f"bins of counts as equal as the scores allow, of the first seed; Wilson intervals, {CLUSTERED}",
        *explain_marks(both),
    ]
    return [Document("reliability", "Reliability diagram, in numbers", frame, _print_bins(frame), notes)]


def _bins(one: Experiment) -> Iterator[dict[str, Any]]:
    for place, found in enumerate(reliability(one.scored.labels, one.scored.scores[0]), start=1):
        share = found.observed
        if one.scored.is_clustered:
            share = Estimate(share.value, math.nan, math.nan, "none")
        names = naming_columns(one) | {"bin": place, "count": found.count, "mean_score": found.mean_score}
        yield names | dataclasses.asdict(share)


def _print_bins(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        printed_name(row)
        | {
            "Bin": str(row["bin"]),
            "Images": str(row["count"]),
            "Mean score": number(row["mean_score"]),
            "Share Degraded": with_interval(Estimate(row["value"], row["low"], row["high"], "")),
        }
        for row in frame.to_dict("records")
    )

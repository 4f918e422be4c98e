"""Operating points: the fixed threshold, and the one with the best F1 on validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dxa_tbs.evaluation.intervals import Estimate, estimate, estimates, no_interval
from dxa_tbs.evaluation.measured import Scored, build_scored
from dxa_tbs.report.documents import Document, number, with_interval
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain_marks
from dxa_tbs.report.labels import label, naming_columns, printed_name
from dxa_tbs.report.numbers.columns import estimate_columns, read_estimate
from dxa_tbs.report.study import Study

SHOWN = {"sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1-Score", "ppv": "PPV", "npv": "NPV"}


def operating_points_table(study: Study) -> list[Document]:
    """Return sensitivity, specificity, F1, PPV and NPV at both thresholds, side by side."""
    frame = pd.DataFrame(row for one in study.experiments for row in _points(one, study.prevalence))
    notes = [
        *study.banner,
        "validation: the threshold of the best F1 on validation; each seed and fold has its own, the mean is printed",
        *_old_thresholds(study.experiments),
        "PPV and NPV by Bayes' rule from sensitivity and specificity; the prevalence is "
        + ("that of the test set: give --prevalence for another" if study.prevalence is None else "the one given"),
        *explain_marks(study.experiments),
    ]
    return [Document("operating_points", "Operating points", frame, _print(frame), notes)]


def _points(one: Experiment, prevalence: float | None) -> list[dict[str, Any]]:
    scores, own = one.scored.scores, one.of_test_images("threshold")
    chosen = build_scored(one.scored.labels, scores, one.scored.patients, threshold=own, folds=one.scored.folds)
    fixed = float(one.first.facts["thresholds"]["fixed"])
    share = float(one.scored.labels.mean()) if prevalence is None else prevalence
    rows = []
    for rule, threshold, scored in (("fixed", fixed, one.scored), ("validation", float(own.mean()), chosen)):
        of_test = estimates(scored)
        found = {name: of_test[name] for name in ("sensitivity", "specificity", "f1")} | _predictive(scored, share)
        names = naming_columns(one) | {"rule": rule, "threshold": threshold, "prevalence": share}
        rows.append(names | estimate_columns(found))
    return rows


def _predictive(scored: Scored, prevalence: float) -> dict[str, Estimate]:
    """Return PPV and NPV at a prevalence of Degraded, with the sensitivity and specificity of the test set."""
    if not scored.has_both_classes:
        return {"ppv": no_interval(math.nan), "npv": no_interval(math.nan)}
    ratio = (1 - prevalence) / prevalence
    return {
        "ppv": estimate(scored, "precision", ratio=ratio),
        "npv": estimate(scored, "negative_precision", ratio=ratio),
    }


def _old_thresholds(experiments: Sequence[Experiment]) -> list[str]:
    old = [label(one) for one in experiments if any(run.threshold_saw_copies for run in one.runs)]
    text = "chosen by version 0.1.0 with augmented copies among the validation images: the threshold of "
    return [text + "; ".join(old)] if old else []


def _print(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        printed_name(row)
        | {"Threshold": f"{row['rule']}: {number(row['threshold'])}", "Prevalence": number(row["prevalence"])}
        | {text: with_interval(read_estimate(row, name)) for name, text in SHOWN.items()}
        for row in frame.to_dict("records")
    )

"""Decision curve: the net benefit of acting on a score, against calling all or none Degraded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.decisions import net_benefit
from dxa_tbs.evaluation.intervals import Estimate
from dxa_tbs.evaluation.measured import Scored
from dxa_tbs.report.documents import Document, with_interval
from dxa_tbs.report.footnotes import explain_marks
from dxa_tbs.report.labels import naming_columns
from dxa_tbs.report.study import Study

RISKS = np.round(np.arange(0.05, 1.0, 0.05), 2)  # from which one would act
PRINTED_RISKS = (0.1, 0.2, 0.3, 0.5)


def decision_curve_table(study: Study) -> list[Document]:
    """Return the net benefit of each experiment, and of calling all Degraded, over the risk from which one acts."""
    both = [one for one in study.experiments if one.scored.has_both_classes]
    rows: list[dict[str, Any]] = []
    for one in {one.test_set: one for one in both}.values():
        name = "call all Degraded" + (f", {one.set_name}" if one.set_name else "")
        names = {"experiment": name, "marks": "", "run": "", "test_set": one.test_set}
        rows += _curve(names, one.scored, np.ones((1, len(one.scored.labels))))
    for one in both:
        names = {key: value for key, value in naming_columns(one).items() if key != "seeds"}
        rows += _curve(names | {"test_set": one.test_set}, one.scored, one.scored.scores)
    frame = pd.DataFrame(rows)
    notes = [
        *study.banner,
        "true positives per image minus false positives, weighted by the odds of the risk; calling none Degraded: 0",
        "by the scores as trained, which are risks only if they are calibrated: augmentation shifts them",
        "at the share of Degraded of the test set, whatever prevalence was given for PPV and NPV",
        *explain_marks(both),
    ]
    return [Document("decision_curve", "Decision curve: net benefit", frame, _print(frame), notes)]


def _curve(names: Mapping[str, Any], scored: Scored, scores: np.ndarray) -> list[dict[str, Any]]:
    found = [net_benefit(scored.labels, scores, scored.patients, risk) for risk in RISKS]
    return [
        {**names, "risk": risk, "net_benefit": one.value, "low": one.low, "high": one.high}
        for risk, one in zip(RISKS, found, strict=True)
    ]


def _print(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["experiment", "marks", "run", "test_set"]
    return pd.DataFrame(
        {"Experiment": name, "Marks": marks}
        | {
            f"risk {row.risk:.2f}": with_interval(Estimate(row.net_benefit, row.low, row.high, ""))
            for row in part.itertuples()
            if row.risk in PRINTED_RISKS
        }
        for (name, marks, *_), part in (() if frame.empty else frame.groupby(columns, sort=False))
    )

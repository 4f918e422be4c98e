"""Failure analysis: the wrongly called test images whose thumbnails the runs kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from dxa_tbs.report.documents import ABSENT, Document, number
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain_marks, marks_of
from dxa_tbs.report.labels import label
from dxa_tbs.report.study import Study
from dxa_tbs.runs.files import ERRORS_CSV
from dxa_tbs.runs.records import read_errors


def errors_table(study: Study) -> list[Document]:
    """Return the errors that the first run of each experiment kept, if any did."""
    rows = [row for one in study.experiments for row in _errors(one, study.root)]
    if not rows:
        return []
    kept = {row["run"] for row in rows}
    notes = [
        *study.banner,
        "of each kind the nearest to and the farthest from the threshold, of each experiment's first run",
        *explain_marks([one for one in study.experiments if one.folder in kept]),
    ]
    title = "Failure analysis: wrongly called test images"
    return [Document("errors", title, pd.DataFrame(rows), pd.DataFrame(map(_print, rows)), notes)]


def _errors(one: Experiment, root: Path) -> Iterator[dict[str, Any]]:
    run = one.first
    if not (root / run.folder / ERRORS_CSV).is_file():
        return
    errors = read_errors(root / run.folder).merge(run.test[["image_id", "tbs"]], on="image_id", validate="one_to_one")
    threshold, cut = run.facts["thresholds"]["fixed"], run.config["labels"]["degraded_max_tbs"]
    for row in errors.to_dict("records"):
        yield {
            "experiment": label(one),
            "marks": marks_of(one),
            "run": run.folder,
            "image_id": row["image_id"],
            "kind": row["kind"].replace("_", " "),
            "place": row["place"],
            "score": row["score"],
            "from_threshold": row["score"] - threshold,
            "tbs": row["tbs"],
            "from_cut": row["tbs"] - cut,
            "file": row["file"],
        }


def _print(row: dict[str, Any]) -> dict[str, str]:
    return {
        "Experiment": row["experiment"],
        "Marks": row["marks"],
        "Image": row["image_id"],
        "Error": row["kind"],
        "Place": row["place"],
        "Score": number(row["score"]),
        "From threshold": _signed(row["from_threshold"]),
        "TBS": number(row["tbs"]),
        "From cut": _signed(row["from_cut"]),
    }


def _signed(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:+.3f}"

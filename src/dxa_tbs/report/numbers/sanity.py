"""Sanity table: the baselines and controls of each split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from dxa_tbs.evaluation.intervals import Estimate, estimates
from dxa_tbs.report.documents import Document, with_interval
from dxa_tbs.report.footnotes import explain_marks
from dxa_tbs.report.labels import naming_columns, printed_name
from dxa_tbs.report.numbers.baselines import BASELINES, NO_BASELINES
from dxa_tbs.report.numbers.splits import SplitResults
from dxa_tbs.report.study import Study

SHOWN = {"sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1-Score", "auc": "AUC"}
NOT_PERMUTED = "no run with permuted labels here: add labels.permuted_seed=0 to a training command"


def sanity_tables(study: Study) -> list[Document]:
    """Return a table of baselines and controls for each split that has any."""
    documents = []
    for place, split in enumerate(study.splits, start=1):
        if split.baselines or split.controls:
            several = len(study.splits) > 1
            name, of_set = (f"sanity_{place}", f", {split.name}") if several else ("sanity", "")
            frame = _rows(split)
            notes = [*study.banner, *_notes(split), *explain_marks(split.controls)]
            documents.append(Document(name, f"Sanity: baselines and controls{of_set}", frame, _print(frame), notes))
    return documents


def _rows(split: SplitResults) -> pd.DataFrame:
    """Return a row per baseline or control and metric; a baseline has no marks and no run."""
    found: list[tuple[dict[str, object], dict[str, Estimate], int]] = [
        (
            {"experiment": name, "marks": "", "seeds": None, "run": "", "control": ""},
            estimates(scored),
            len(scored.labels),
        )
        for name, scored in split.baselines.items()
    ]
    found += [
        (naming_columns(one) | {"control": one.control}, one.estimates, len(one.scored.labels))
        for one in split.controls
    ]
    rows = [
        {**names, "n": num_images, "metric": metric, **dataclasses.asdict(of_row[metric])}
        for names, of_row, num_images in found
        for metric in SHOWN
    ]
    return pd.DataFrame(rows).astype({"seeds": "Int64"})


def _print(frame: pd.DataFrame) -> pd.DataFrame:
    lines = []
    for _, rows in frame.groupby(["experiment", "control", "run"], sort=False):
        first = rows.iloc[0].to_dict()
        cells = {
            SHOWN[row.metric]: with_interval(Estimate(row.value, row.low, row.high, row.method))
            for row in rows.itertuples()
        }
        lines.append(printed_name(first) | {"Control": first["control"], "n": str(first["n"])} | cells)
    return pd.DataFrame(lines)


def _notes(split: SplitResults) -> Sequence[str]:
    notes = ["baselines: logistic regression on the training originals, threshold 0.5, the same test images"]
    lacking = [baseline for baseline in BASELINES if baseline not in split.baselines]
    if not split.baselines:
        notes.append(f"no baselines: {NO_BASELINES}")
    elif lacking:
        notes.append(f"not available, since images lack a box around the vertebrae, or texture: {'; '.join(lacking)}")
    if split.baselines and not any("permuted" in control.control for control in split.controls):
        notes.append(NOT_PERMUTED)
    return notes

"""Charts and counts of one run, as the page shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.measured import build_scored
from dxa_tbs.evaluation.roc import GRID, roc_band
from dxa_tbs.report.documents import number
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.numbers.run_list import TIMES, describe_run
from dxa_tbs.report.page.charts import Line, line_chart
from dxa_tbs.report.runs import Run
from dxa_tbs.runs.files import HISTORY_CSV
from dxa_tbs.runs.records import read_history

BAND_RESAMPLES = 200


def show_run(root: Path, one: Experiment, run: Run) -> dict[str, Any]:
    """Return what the page shows of a run: its curves, confusion matrix and times."""
    row = describe_run(one, run)
    roc = [_roc_chart(run.test)] if run.test["label"].nunique() == 2 else []
    return {
        "folder": run.folder,
        "charts": [*_history_charts(root, run), *roc],
        "threshold": f"{row['threshold']:g}",
        **{name: f"{row[name]:g}" for name in ("tp", "fp", "tn", "fn")},
        "times": {text: f"{row[name]:.1f} s" for name, text in TIMES.items() if row[name] is not None},
    }


def _roc_chart(test: pd.DataFrame) -> str:
    labels = test["label"].to_numpy()
    scored = build_scored(labels, test["score"].to_numpy()[None], test["patient_id"].to_numpy(), threshold=0.5)
    curve, low, high = roc_band(scored, resamples=BAND_RESAMPLES)
    return line_chart(
        "Test ROC curve with 95 % band",
        [Line("", GRID, curve), Line("chance", np.array([0.0, 1.0]), np.array([0.0, 1.0]), is_dashed=True)],
        x_label="1 - specificity",
        y_label="sensitivity",
        band=(GRID, low, high),
    )


def _history_charts(root: Path, run: Run) -> Iterator[str]:
    if not (root / run.folder / HISTORY_CSV).is_file():  # an evaluation
        return
    history, whose = read_history(root / run.folder)
    epochs, tested = history["epoch"].to_numpy(float), run.facts.get("tested_epoch")
    lines = [
        Line("train", epochs, history["train_loss"].to_numpy(float), is_dashed=True),
        Line(whose, epochs, history["val_loss"].to_numpy(float)),
    ]
    yield line_chart(f"Loss by epoch; tested: epoch {tested}", lines, x_label="epoch", y_label="loss", mark_x=tested)
    auc = history["val_auc"].to_numpy(float)
    name = f"AUC on {whose}, by epoch; at the end {number(float(auc[-1]))}"
    yield line_chart(name, [Line("", epochs, auc)], x_label="epoch", y_label="AUC", mark_x=tested)

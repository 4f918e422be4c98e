"""List of runs: counts and metrics of each on its test images, its epochs and its times."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dxa_tbs.evaluation.metrics import binary_auc
from dxa_tbs.evaluation.rates import counts, metrics_of_counts
from dxa_tbs.report.documents import ABSENT, Document, number
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain_marks, marks_of
from dxa_tbs.report.labels import label
from dxa_tbs.report.runs import Run
from dxa_tbs.report.study import Study
from dxa_tbs.verification.seal import is_sealed

TIMES = {  # of timing.json, in seconds
    "data_s": "Data",
    "prepare_s": "Preparation",
    "compile_s": "Recording",
    "train_10_epochs_s": "Training, 10 epochs",
    "val_10_epochs_s": "Validation, 10 epochs",
    "time_10_epochs_s": "Time of 10 epochs",
}


def runs_table(study: Study) -> list[Document]:
    """Return one row per run."""
    rows = [describe_run(one, run) for one in study.experiments for run in one.runs]
    notes = [
        *study.banner,
        "at the fixed threshold; validation: its originals alone, no augmented copies; times in seconds",
    ]
    if num_unverified := sum(not row["verified"] for row in rows):
        of_all = "the one run" if len(rows) == 1 else f"{num_unverified} of {len(rows)} runs"
        told = f"unverified: {of_all}: version 0.1.0 stored no digests of its files"
        notes.append(f"{told}, which agree with one another")
    notes += explain_marks(study.experiments)
    return [Document("runs", "Runs", pd.DataFrame(rows), pd.DataFrame(map(_print, rows)), notes)]


def describe_run(one: Experiment, run: Run) -> dict[str, Any]:
    """Return the row of a run: counts and metrics at the fixed threshold, AUC, epochs and times in seconds."""
    labels, scores = run.test["label"].to_numpy(), run.test["score"].to_numpy()
    threshold = float(run.facts["thresholds"]["fixed"])
    cells = counts(labels, (scores >= threshold)[None])
    return {
        "run": run.folder,
        "experiment": label(one),
        "marks": marks_of(one),
        "seed": run.config["seed"],
        "fold": run.config["split"].get("fold"),
        "n": len(labels),
        "threshold": threshold,
        **{name: float(value[0]) for name, value in {**cells, **metrics_of_counts(cells)}.items()},
        "auc": binary_auc(labels, scores),
        "val_auc": run.val_auc,
        "epochs": run.facts.get("epochs"),
        "tested_epoch": run.facts.get("tested_epoch"),
        "verified": is_sealed(run.facts),
        **{name: run.timing.get(name) for name in TIMES},
    }


def _print(row: dict[str, Any]) -> dict[str, str]:
    return {
        "Run": row["run"],
        "Marks": row["marks"],
        "n": str(row["n"]),
        **{name.upper(): f"{row[name]:g}" for name in ("tp", "fp", "tn", "fn")},
        "Sensitivity": number(row["sensitivity"]),
        "Specificity": number(row["specificity"]),
        "F1-Score": number(row["f1"]),
        "AUC": number(row["auc"]),
        "AUC on validation": number(row["val_auc"]),
        "Epochs": ABSENT if row["epochs"] is None else f"{row['epochs']}, tested: {row['tested_epoch']}",
        **{text: ABSENT if row[name] is None else f"{row[name]:.1f}" for name, text in TIMES.items()},
    }

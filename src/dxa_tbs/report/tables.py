"""Tables III to V of the paper from finished runs, the printed values beside ours. Never imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dxa_tbs import records
from dxa_tbs.report.paper import PrintedRow, ResultsTable, is_papers_network, protocol

COLUMNS = {  # field: heading as printed
    "tp": "TP",
    "fp": "FP",
    "tn": "TN",
    "fn": "FN",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1-Score",
    "auc": "AUC",
    "auc_hard": "AUC of calls",
    "time_10_epochs_s": "Time(s) 10 epochs",
}
DECIMALS = {"tp": 0, "fp": 0, "tn": 0, "fn": 0, "time_10_epochs_s": 2}  # all others: 3
ABSENT = "-"
SHORT_KEYS = {"optimizer.lr": "lr", "trainer.batch_size": "batch size"}  # all others: their last part


def table_rows(table: ResultsTable, root: Path, run_dirs: Sequence[Path]) -> pd.DataFrame:
    """Return one row per finished run of the table's approach, numbers in full, the paper's as paper_<column>.

    Args:
        root: what the column `run` is relative to.
        run_dirs: of finished runs, of whatever approach.
    """
    rows = []
    for run_dir in run_dirs:
        config, facts = records.read_config(run_dir), records.read_json(run_dir / records.METRICS)
        if config["approach"]["name"] != table.approach:
            continue
        model = config["model"]["name"]
        printed = _printed(table.rows[model]) if is_papers_network(config["model"]) else {}
        rows.append(
            {"model": model, "run": run_dir.relative_to(root).as_posix()}
            | {"n": sum(facts["num_images"]["test"].values())}
            | _ours(run_dir, facts)
            | {f"paper_{name}": printed.get(name) for name in COLUMNS}
            | {"initialisation": facts["initialisation"], "notes": "; ".join(_notes(facts, config))}
        )
    if not rows:
        return pd.DataFrame()
    order = {model: place for place, model in enumerate(table.rows)}  # the paper's; other networks follow
    frame = pd.DataFrame(rows)
    frame["place"] = frame["model"].map(order).fillna(len(order))
    return frame.sort_values(["place", "model", "run"], ignore_index=True).drop(columns="place")


def render_markdown(table: ResultsTable, rows: pd.DataFrame, *, unfinished: Sequence[str]) -> str:
    """Return a table as Markdown, each cell `ours (paper)`, and beneath it what the reader must know."""
    missing = [f"- not finished, not in the table: {name}" for name in unfinished]
    if rows.empty:
        return "\n".join([f"## Table {table.number}. {table.title}", "", *missing]) + "\n"
    cells = pd.DataFrame({"Model": [_name(row) for row in rows.to_dict("records")], "n": rows["n"].astype(str)})
    for name, heading in COLUMNS.items():
        cells[heading] = [_cell(row, name) for row in rows.to_dict("records")]
    cells["Run"] = rows["run"]
    lines = [f"## Table {table.number}. {table.title}", ""]
    lines += [
        "Each cell: ours (paper). n: test images. AUC: of the scores. AUC of calls: (sensitivity + specificity) / 2;"
    ]
    lines += ["the AUC the paper prints stands in the column whose arithmetic it follows.", ""]
    lines += [cells.to_markdown(index=False, disable_numparse=True), ""]
    lines += [f"- {row.run}: {row.notes}" for row in rows.itertuples() if row.notes]
    return "\n".join(lines + missing).rstrip() + "\n"


def _printed(row: PrintedRow) -> dict[str, Any]:
    values = dataclasses.asdict(row)
    return values | ({"auc_hard": values.pop("auc")} if row.auc_is_hard else {})


def _ours(run_dir: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    timing = run_dir / "timing.json"  # an evaluation has none
    times = records.read_json(timing) if timing.is_file() else {}
    known = {**facts["test"]["at_fixed"], "time_10_epochs_s": times.get("time_10_epochs_s")}
    return {name: known[name] for name in COLUMNS}


def _departures(config: Mapping[str, Any]) -> list[str]:
    """Return the settings of a run of a network of the paper's that are not the paper's."""
    found = []
    for key, papers in protocol(config["approach"]["name"], config["model"]["name"]).items():
        section, name = key.split(".")
        ours = config[section].get(name)
        if ours != papers and not (key == "optimizer.momentum" and config["optimizer"]["name"] != "sgd"):
            what = section if name == "name" else SHORT_KEYS.get(key, name)
            found.append(f"{what} {Path(ours).name if key == 'model.weights' else ours}")
    return found


def _notes(facts: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    notes = []
    if facts["synthetic"]:
        notes.append("synthetic phantom: shows that the pipeline works, never that a model works on patients")
    if "evaluated_run" in facts:
        notes.append(f"evaluates the weights of {facts['evaluated_run']}")
    elif facts["epochs"] < 10:
        notes.append(f"trained for {facts['epochs']} epochs only: no time of 10")
    if is_papers_network(dict(config["model"])) and "evaluated_run" not in facts and (others := _departures(config)):
        notes.append(f"not the paper's: {', '.join(others)}")
    return notes + list(facts["warnings"])


def _name(row: Mapping[str, Any]) -> str:
    is_adhoc = row["initialisation"] is None or pd.isna(row["initialisation"])
    return (
        str(row["model"]) if is_adhoc or row["initialisation"] != "none" else f"{row['model']} (random initialisation)"
    )


def _cell(row: Mapping[str, Any], name: str) -> str:
    return f"{_number(row[name], name)} ({_number(row[f'paper_{name}'], name)})"


def _number(value: float | None, name: str) -> str:
    return ABSENT if value is None or pd.isna(value) else f"{value:.{DECIMALS.get(name, 3)}f}"

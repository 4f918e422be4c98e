"""Tables of the paper from finished runs, the printed values beside ours. Never imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dxa_tbs import records
from dxa_tbs.report.paper import ADHOC_EPOCHS, ADHOC_PATIENCE, TABLE_II, TABLE_V, PrintedRow

COLUMNS = {  # field of the paper's row: heading as printed
    "tp": "TP",
    "fp": "FP",
    "tn": "TN",
    "fn": "FN",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1-Score",
    "auc": "AUC",
    "time_10_epochs_s": "Time(s) 10 epochs",
}
DECIMALS = {"tp": 0, "fp": 0, "tn": 0, "fn": 0, "time_10_epochs_s": 2}  # all others: 3
ABSENT = "-"


def adhoc_rows(root: Path, run_dirs: Sequence[Path]) -> pd.DataFrame:
    """Return Table V: one row per finished run of approach adhoc, numbers in full, the paper's as paper_<column>.

    Args:
        root: what the column `run` is relative to.
        run_dirs: of finished runs, of whatever approach.
    """
    rows = []
    for run_dir in run_dirs:
        config, facts = records.read_config(run_dir), records.read_json(run_dir / records.METRICS)
        if config["approach"]["name"] != "adhoc":
            continue
        printed = TABLE_V[config["model"]["name"]] if _is_papers_network(config["model"]) else None
        rows.append(
            {"model": config["model"]["name"], "run": run_dir.relative_to(root).as_posix()}
            | {"n": sum(facts["num_images"]["test"].values())}
            | _ours(run_dir, facts)
            | {f"paper_{name}": getattr(printed, name) if printed else None for name in COLUMNS}
            | {"auc_hard": facts["test"]["at_fixed"]["auc_hard"], "notes": "; ".join(_notes(facts, config))}
        )
    return pd.DataFrame(rows).sort_values(["model", "run"], ignore_index=True) if rows else pd.DataFrame()


def render_markdown(rows: pd.DataFrame, *, unfinished: Sequence[str]) -> str:
    """Return Table V as Markdown, each cell `ours (paper)`, and beneath it what the reader must know."""
    cells = pd.DataFrame({"Model": rows["model"], "n": rows["n"].astype(str)})
    for name, heading in COLUMNS.items():
        cells[heading] = [_cell(row, name) for row in rows.to_dict("records")]
    cells["Run"] = rows["run"]
    lines = ["## Table V. Results of testing ad hoc architecture models (approach 3)", ""]
    lines += ["Each cell: ours (paper). n: test images. AUC: of the scores, here and in the paper's Table V.", ""]
    lines += [cells.to_markdown(index=False, disable_numparse=True), ""]
    lines += [f"- {row.run}: {row.notes}" for row in rows.itertuples() if row.notes]
    if unfinished:
        lines += [f"- not finished, not in the table: {name}" for name in unfinished]
    return "\n".join(lines).rstrip() + "\n"


def _ours(run_dir: Path, facts: dict[str, Any]) -> dict[str, Any]:
    timing = run_dir / "timing.json"  # an evaluation has none
    times = records.read_json(timing) if timing.is_file() else {}
    at_fixed = facts["test"]["at_fixed"]
    names = [field.name for field in dataclasses.fields(PrintedRow) if field.name in at_fixed]
    return {name: at_fixed[name] for name in names} | {"time_10_epochs_s": times.get("time_10_epochs_s")}


def _is_papers_network(model: dict[str, Any]) -> bool:
    protocol = TABLE_II.get(model["name"])
    return protocol is not None and (tuple(model["filters"]), tuple(model["fc_widths"])) == (
        protocol.filters,
        protocol.fc_widths,
    )


def _departures(config: dict[str, Any]) -> list[str]:
    """Return the settings of a run of a network of the paper's that are not the paper's."""
    protocol, trainer, optimizer = TABLE_II[config["model"]["name"]], config["trainer"], config["optimizer"]
    pairs = {
        "split": (config["split"]["name"], "table1"),
        "augmentation": (config["augmentation"]["name"], "paper"),
        "optimizer": (optimizer["name"], "sgd"),
        "lr": (optimizer["lr"], protocol.lr),
        "momentum": (optimizer.get("momentum", protocol.momentum), protocol.momentum),
        "batch size": (trainer["batch_size"], protocol.batch_size),
        "epochs": (trainer["epochs"], ADHOC_EPOCHS),
        "patience": (trainer["patience"], ADHOC_PATIENCE),
    }
    return [f"{name} {ours}" for name, (ours, papers) in pairs.items() if ours != papers]


def _notes(facts: dict[str, Any], config: dict[str, Any]) -> list[str]:
    notes = []
    if facts["synthetic"]:
        notes.append("synthetic phantom: shows that the pipeline works, never that a model works on patients")
    if "evaluated_run" in facts:
        notes.append(f"evaluates the weights of {facts['evaluated_run']}")
    elif facts["epochs"] < 10:
        notes.append(f"trained for {facts['epochs']} epochs only: no time of 10")
    if _is_papers_network(config["model"]) and "evaluated_run" not in facts and (others := _departures(config)):
        notes.append(f"not the paper's: {', '.join(others)}")
    return notes + list(facts["warnings"])


def _cell(row: dict[str, Any], name: str) -> str:
    return f"{_number(row[name], name)} ({_number(row[f'paper_{name}'], name)})"


def _number(value: float | None, name: str) -> str:
    return ABSENT if value is None or pd.isna(value) else f"{value:.{DECIMALS.get(name, 3)}f}"

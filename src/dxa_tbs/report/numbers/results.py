"""Results of experiments as in the paper's Tables III to V: ours, the paper's and the difference, metric by metric."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.intervals import no_interval
from dxa_tbs.evaluation.rates import counts
from dxa_tbs.report.documents import ABSENT
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import marks_of, time_marks_of
from dxa_tbs.report.labels import label
from dxa_tbs.report.numbers.paper_difference import printed_estimates, subtract_printed
from dxa_tbs.report.paper import PrintedRow, ResultsTable

COUNTS = ("tp", "fp", "tn", "fn")
TIME = "time_10_epochs_s"
COLUMNS = {  # field: heading as printed, in the paper's order
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
    "mcc": "MCC",
    TIME: "Time(s) 10 epochs",
}
DECIMALS = {"tp": 0, "fp": 0, "tn": 0, "fn": 0, TIME: 2}  # all others: 3, as in the paper


def papers_results(table: ResultsTable, experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return one row per experiment of a results table and metric, with the paper's value beside ours.

    Columns: experiment, model, number, run, seeds, n (test images), metric, value, low, high, method, low_networks and
    high_networks (these trained networks on other patients), sd (over seeds), averaged (how many values), paper,
    difference with its own low and high, marks (those of the time include the device's).
    """
    chosen = [one for one in experiments if one.approach == table.approach and one.is_papers]
    return pd.DataFrame([row for one in chosen for row in _rows(one, table.rows[one.model])])


def other_results(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return the same rows for experiments that the paper does not have, with their approach."""
    return pd.DataFrame(
        [{"approach": one.approach} | row for one in experiments if not one.is_papers for row in _rows(one, None)]
    )


def all_results(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return one row per experiment and metric, without the paper's values, see `dxa_tbs.api.load_study`."""
    rows = [{"approach": one.approach} | row for one in experiments for row in _rows(one, None)]
    columns = ("experiment", "approach", "model", "metric", "value", "low", "high", "seeds", "n", "marks", "run")
    return pd.DataFrame(rows, columns=columns).rename(columns={"run": "folder"})


def print_results(frame: pd.DataFrame) -> pd.DataFrame:
    """Return results as they are printed: for each experiment lines of ours, the paper's and the difference."""
    lines = [line for _, rows in frame.groupby("run", sort=False) for line in _printed_lines(rows)]
    return pd.DataFrame(lines).fillna("").rename(columns=COLUMNS)


def _printed_lines(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Yield the lines of one experiment; the first has its name."""
    cells = {row["metric"]: row for row in rows.to_dict("records")}
    first, seeds = cells[TIME], int(cells[TIME]["seeds"])
    head = {"Experiment": first["experiment"], "Marks": _marks(cells), "n": str(first["n"])}
    ours = "ours" if seeds == 1 else f"ours, mean of {seeds} seeds"
    yield head | {"": ours} | {name: _ours(cells[name], name) for name in COLUMNS} | {"Run": first["run"]}
    yield {"": "95 % interval"} | {name: _interval(cells[name], "low", "high") for name in COLUMNS}
    if any(not pd.isna(cell["low_networks"]) for cell in cells.values()):
        ends = ("low_networks", "high_networks")
        yield {"": "95 %, these networks"} | {name: _interval(cells[name], *ends) for name in COLUMNS}
    if seeds > 1:
        yield {"": "SD over seeds"} | {name: _number(cells[name]["sd"], name) for name in COLUMNS}
    if rows["paper"].notna().any():
        yield {"": "paper"} | {name: _number(cells[name]["paper"], name) for name in COLUMNS}
        yield {"": "ours - paper"} | {name: _difference(cells[name], name) for name in COLUMNS}
        ends = ("difference_low", "difference_high")
        yield {"": "95 % of that"} | {name: _interval(cells[name], *ends) for name in COLUMNS}


def _marks(cells: dict[str, dict[str, Any]]) -> str:
    """Return the marks of all numbers of an experiment, and those of its time alone: `ag; time e`."""
    of_all = cells["f1"]["marks"]
    of_time = "".join(letter for letter in cells[TIME]["marks"] if letter not in of_all)
    has_time = not pd.isna(cells[TIME]["value"])
    return "; ".join([of_all] * bool(of_all) + [f"time {of_time}"] * (has_time and bool(of_time)))


def _rows(experiment: Experiment, row: PrintedRow | None) -> Iterator[dict[str, object]]:
    """Yield a row per metric; `row` is what the paper prints, if it has this experiment."""
    printed = {} if row is None else printed_estimates(row)
    scored = experiment.scored
    per_seed = {
        **counts(scored.labels, scored.calls),
        **scored.values,
        "auc": np.array(experiment.auc_of_each),
        TIME: experiment.times_s,
    }
    absent = no_interval(math.nan)
    for metric in COLUMNS:
        values = per_seed[metric]
        ours = experiment.estimates.get(metric) or no_interval(float(values.mean()) if len(values) else math.nan)
        networks = experiment.of_these_networks.get(metric, absent) if experiment.num_trainings > 1 else absent
        paper, difference = printed.get(metric, absent), absent
        if row is not None and metric in printed:
            difference = subtract_printed(metric, ours, paper, scored.labels, row)
        yield {
            "experiment": label(experiment),
            "model": experiment.model,
            "number": experiment.number,
            "run": experiment.folder,
            "seeds": len(experiment.seeds),
            "n": len(scored.labels),
            "metric": metric,
            **dataclasses.asdict(ours),
            "low_networks": networks.low,
            "high_networks": networks.high,
            "sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
            "averaged": len(values),
            "paper": paper.value,
            "difference": difference.value,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "marks": time_marks_of(experiment) if metric == TIME else marks_of(experiment),
        }


def _ours(cell: dict[str, object], name: str) -> str:
    number = _number(cell["value"], name)
    if number == ABSENT:
        return number
    averaged = int(str(cell["averaged"]))
    return number + (f" (n={averaged})" if averaged > 1 else "")


def _interval(cell: dict[str, object], low: str, high: str) -> str:
    ends = float(str(cell[low])), float(str(cell[high]))
    return "" if math.isnan(ends[0]) else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _difference(cell: dict[str, object], name: str) -> str:
    return ABSENT if pd.isna(cell["difference"]) else f"{cell['difference']:+.{DECIMALS.get(name, 3)}f}"


def _number(value: object, name: str) -> str:
    if value is None or pd.isna(value):
        return ABSENT
    number = float(str(value))
    decimals = DECIMALS.get(name, 3)
    return f"{number:.{1 if name in COUNTS and not number.is_integer() else decimals}f}"

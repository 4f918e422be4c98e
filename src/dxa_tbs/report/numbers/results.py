"""The paper's five tables as plain frames: numbers in full, and as they are printed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.intervals import no_interval
from dxa_tbs.evaluation.rates import counts
from dxa_tbs.report.documents import ABSENT
from dxa_tbs.report.footnotes import SUPERSCRIPTS, marks_of, time_marks_of
from dxa_tbs.report.numbers.paper_difference import printed_estimates, subtract_printed
from dxa_tbs.report.paper import TABLE_I, TABLE_II, TABLE_II_PARAMETERS, PrintedRow, ResultsTable, protocol
from dxa_tbs.report.runs import Experiment
from dxa_tbs.runs.identity import flatten

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


def results(table: ResultsTable, experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return one row per experiment that the table has and column of the paper's, the printed value beside ours.

    Columns: model, number, run, seeds, n, metric, value, low, high, method, low and high of these trained networks on
    other patients, sd (over seeds), averaged, paper, difference with its own low and high, marks.
    """
    chosen = [one for one in experiments if one.approach == table.approach and one.is_papers]
    return pd.DataFrame([row for one in chosen for row in _rows(one, table.rows[one.model])])


def other_results(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return the same rows for the experiments that the paper does not have, with their approach."""
    return pd.DataFrame(
        [{"approach": one.approach} | row for one in experiments if not one.is_papers for row in _rows(one, None)]
    )


def print_results(frame: pd.DataFrame) -> pd.DataFrame:
    """Return results as they are printed: for each experiment lines of ours, the paper's and the difference."""
    lines = []
    for run, rows in frame.groupby("run", sort=False):
        first = rows.iloc[0]
        seeds = int(first["seeds"])
        cells = {row["metric"]: row for row in rows.to_dict("records")}
        name = f"{first['model']} {first['approach']}" if "approach" in first else first["model"]
        number = f" ({first['number']})" if first["number"] > 1 else ""
        head = {"Model": f"{name}{number}", "n": str(first["n"])}
        ours = "ours" if seeds == 1 else f"ours, mean of {seeds} seeds"
        lines.append(head | {"": ours} | {name: _ours(cells[name], name) for name in COLUMNS} | {"Run": run})
        lines.append({"": "95 % interval"} | {name: _interval(cells[name], "low", "high") for name in COLUMNS})
        if any(not pd.isna(cell["low_networks"]) for cell in cells.values()):
            ends = ("low_networks", "high_networks")
            lines.append({"": "95 %, these networks"} | {name: _interval(cells[name], *ends) for name in COLUMNS})
        if seeds > 1:
            lines.append({"": "SD over seeds"} | {name: _number(cells[name]["sd"], name) for name in COLUMNS})
        if rows["paper"].notna().any():
            lines.append({"": "paper"} | {name: _number(cells[name]["paper"], name) for name in COLUMNS})
            lines.append({"": "ours - paper"} | {name: _difference(cells[name], name) for name in COLUMNS})
            ends = ("difference_low", "difference_high")
            lines.append({"": "95 % of that"} | {name: _interval(cells[name], *ends) for name in COLUMNS})
    return pd.DataFrame(lines).fillna("").rename(columns=COLUMNS)


def table_1(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return Table I for each split among the experiments: images of each class, original and augmented."""
    kinds = ("normal_original", "degraded_original", "normal_augmented", "degraded_augmented")
    rows, seen = [], set()
    for experiment in experiments:
        run = experiment.first
        counted = run.facts["num_images"]
        key = (experiment.test_set, str(counted))
        if key in seen:
            continue
        seen.add(key)
        for split in ("train", "val", "test"):
            ours = {kind: counted[split][kind] for kind in kinds}
            printed = TABLE_I[split] if run.config["split"]["name"] == "table1" else dict.fromkeys(kinds)
            rows.append({"test set": experiment.test_set, "split": split} | ours | {"total": sum(ours.values())}
                        | {f"paper_{kind}": printed[kind] for kind in kinds} | {"run": run.folder})  # fmt: skip
    return pd.DataFrame(rows)


def print_table_1(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Table I as printed: ours (paper), with its sums."""
    lines = []
    for run, rows in frame.groupby("run", sort=False):
        both = [
            *rows.to_dict("records"),
            {"split": "sum"} | rows.drop(columns=["test set", "run"]).sum(numeric_only=True).to_dict(),
        ]
        for row in both:
            line = {"Split": str(row["split"]).capitalize()}
            for kind in ("normal_original", "degraded_original", "normal_augmented", "degraded_augmented"):
                printed = row.get(f"paper_{kind}")
                has_printed = printed is not None and not pd.isna(printed) and rows[f"paper_{kind}"].notna().all()
                line[f"{kind.replace('_', ' ').capitalize()} samples"] = f"{int(row[kind])}" + (
                    f" ({int(printed)})" if has_printed and printed is not None else ""
                )
            lines.append(line | {"Total": str(int(row["total"])), "Run": run if row["split"] == "train" else ""})
    return pd.DataFrame(lines)


def table_2(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return Table II: the ad hoc networks that were run, their parameters counted on the networks themselves."""
    rows = []
    for model, architecture in TABLE_II.items():
        of_model = [one for one in experiments if one.approach == "adhoc" and one.model == model and one.is_papers]
        counted = {one.first.facts["trainable_parameters"] for one in of_model}
        assert len(counted) <= 1, "the same network has one number of parameters"
        papers = flatten(of_model[0].first.config) if of_model else protocol("adhoc", model)
        rows.append(
            {
                "model": model,
                "convolutional_blocks": len(architecture.filters),
                "filters": ", ".join(map(str, architecture.filters)),
                "fc_layers": len(architecture.fc_widths) + 1,
                "neurons": ", ".join(map(str, (*architecture.fc_widths, 1))),
                "batch_size": papers["trainer.batch_size"],
                "lr": papers["optimizer.lr"],
                "momentum": papers.get("optimizer.momentum"),
                "trainable_parameters": counted.pop() if counted else None,
                "paper_trainable_parameters": TABLE_II_PARAMETERS[model],
            }
        )
    return pd.DataFrame(rows)


def print_table_2(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Table II as printed, a column per network."""
    names = {
        "convolutional_blocks": "Convolutional blocks",
        "filters": "Filters per block",
        "fc_layers": "FC layers",
        "neurons": "Neurons per layer",
        "batch_size": "Batch size",
        "lr": "LR",
        "momentum": "Momentum",
    }
    printed = frame.set_index("model")[list(names)].astype(object).T
    printed = printed.where(printed.notna(), ABSENT).map(str)
    ours = [f"{int(count):,}" if pd.notna(count) else "no run" for count in frame["trainable_parameters"]]
    printed.loc["parameters"] = ours
    printed.loc["paper"] = list(frame["paper_trainable_parameters"])
    names |= {"parameters": "Trainable parameters, counted", "paper": "Trainable parameters, paper (cut off)"}
    printed.insert(0, "", [names[key] for key in printed.index])
    return printed.reset_index(drop=True).rename(columns=lambda name: name.replace("model", "Model "))


def _rows(experiment: Experiment, row: PrintedRow | None) -> list[dict[str, object]]:
    """Return a row per metric; `row` is what the paper prints, if it has this experiment."""
    printed = {} if row is None else printed_estimates(row)
    scored, times = experiment.scored, experiment.times_s
    cells = counts(scored.labels, scored.calls)
    per_seed = {**cells, **scored.values, "auc": np.array(experiment.auc_of_each), TIME: times}
    rows = []
    for metric in COLUMNS:
        values = per_seed[metric]
        ours = experiment.estimates.get(metric) or no_interval(float(values.mean()) if len(values) else math.nan)
        networks = no_interval(math.nan)
        if experiment.num_trainings > 1 and metric in experiment.of_these_networks:
            networks = experiment.of_these_networks[metric]
        paper, difference = printed.get(metric, no_interval(math.nan)), no_interval(math.nan)
        if row is not None and metric in printed:
            difference = subtract_printed(metric, ours, paper, scored.labels, row)
        rows.append(
            {
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
        )
    return rows


def _ours(cell: dict[str, object], name: str) -> str:
    number = _number(cell["value"], name)
    if number == ABSENT:
        return number
    averaged = int(str(cell["averaged"]))
    return number + str(cell["marks"]).translate(SUPERSCRIPTS) + (f" (n={averaged})" if averaged > 1 else "")


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

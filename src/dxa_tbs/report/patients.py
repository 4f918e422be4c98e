"""Patients of a run: split.csv, the levels of its subgroup columns, and which levels may be published."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.runs.records import SPLIT_COLUMNS, read_split

MIN_PATIENTS = 10  # a smaller group says nothing, and its patients could be recognised
AGE_EDGES = (50, 60, 70, 80)
RESULT_COLUMNS = {  # columns of the report; version 0.1.0 allowed subgroups of these names
    *("score", "tempered", "threshold", "call", "fold", "dataset", "run", "patients", "images", "degraded"),
    *("grey", "variogram_slope", "vertebrae_grey", "background_grey", "background_slope"),
}
FEW = 5  # up to so many different numbers are codes, not measurements


def knows_patients(config: Mapping[str, Any]) -> bool:
    """Return whether the run knows which images belong to one patient; class folders alone do not tell."""
    return "normal_folder" not in config["dataset"] or config["dataset"]["patient_from"] is not None


def read_patients(run_dir: Path) -> pd.DataFrame:
    """Return split.csv with typed subgroup columns.

    A subgroup column is numeric if all of its values are numbers or blanks. Truth values become text. A subgroup named
    like a column of the report is renamed to `<name> (subgroup)`.
    """
    table = read_split(run_dir)
    table = table.rename(columns={name: f"{name} (subgroup)" for name in RESULT_COLUMNS})
    for name in table.columns.difference(SPLIT_COLUMNS):
        if table[name].dtype == bool:
            table[name] = table[name].map(str)
        elif not pd.api.types.is_numeric_dtype(table[name]):
            numbers = pd.to_numeric(table[name], errors="coerce")
            if numbers.notna().equals(table[name] != ""):
                table[name] = numbers
    return table


def levels(values: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each level and a mask of its members, shape (N,); the last is `unknown`.

    Levels are decades of age, tertiles of other numbers, or the values themselves.
    """
    if not pd.api.types.is_numeric_dtype(values) or values.nunique() <= FEW:
        for level in sorted(set(values.dropna()) - {""}):
            yield f"{level:g}" if pd.api.types.is_number(level) else str(level), (values == level).to_numpy()
    else:
        tertiles = sorted(set(values.quantile([1 / 3, 2 / 3]).round(1)))
        edges = list(AGE_EDGES) if values.name == "age" else tertiles
        yield f"below {edges[0]:g}", (values < edges[0]).to_numpy()
        for low, high in itertools.pairwise(edges):
            yield f"{low:g} to below {high:g}", ((values >= low) & (values < high)).to_numpy()
        yield f"from {edges[-1]:g}", (values >= edges[-1]).to_numpy()
    yield "unknown", (values.isna() | (values == "")).to_numpy()


def publishable(patients: Mapping[str, int]) -> list[str]:
    """Return the levels that may be shown, given the number of patients of each.

    No level below MIN_PATIENTS is shown. Further levels stay hidden until those hidden together reach MIN_PATIENTS, so
    that nobody can find a small level by subtracting the others from the total.
    """
    shown = [name for name, count in patients.items() if count >= MIN_PATIENTS]
    while shown and 0 < sum(patients.values()) - sum(patients[name] for name in shown) < MIN_PATIENTS:
        shown.remove(min(shown, key=lambda name: patients[name]))
    return shown

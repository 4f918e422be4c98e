"""Who the images are of: split.csv, its subgroup columns as numbers or levels, and what may be published of a level."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.runs.files import read_csv

MIN_PATIENTS = 10  # fewer say nothing, and could be recognised
NO_SUBGROUPS = ("image_id", "patient_id", "split", "label", "tbs", "origin", "sha256")
AGE_EDGES = (50, 60, 70, 80)
RESULT_COLUMNS = {  # of the report's own; versions up to 0.1.0 let a subgroup be called so
    *("score", "tempered", "threshold", "call", "fold", "dataset", "run", "patients", "images", "degraded"),
    *("grey", "variogram_slope", "vertebrae_grey", "background_grey", "background_slope"),
}
FEW = 5  # so many different numbers are codes


def knows_patients(config: Mapping[str, Any]) -> bool:
    """Return whether somebody said which images belong to one patient; class folders alone do not."""
    return "normal_folder" not in config["dataset"] or config["dataset"]["patient_from"] is not None


def read_who(run_dir: Path) -> pd.DataFrame:
    """Return split.csv; a subgroup column with blanks is of numbers if all else in it is, and truth values are text.

    A subgroup that has the name of one of the report's own columns is called `<name> (subgroup)`.
    """
    table = read_csv(run_dir / "split.csv")
    table = table.rename(columns={name: f"{name} (subgroup)" for name in RESULT_COLUMNS})
    for name in table.columns.difference(NO_SUBGROUPS):
        if table[name].dtype == bool:
            table[name] = table[name].map(str)
        elif not pd.api.types.is_numeric_dtype(table[name]):
            numbers = pd.to_numeric(table[name], errors="coerce")
            if numbers.notna().equals(table[name] != ""):
                table[name] = numbers
    return table


def levels(values: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and members of each level: decades of age, tertiles of numbers, else each value; last, unknown."""
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
    """Return the levels that may be shown, given the patients of each: none below MIN_PATIENTS, and so many stay hidden
    that nobody finds a small level as the difference between the whole and the rest."""
    shown = [name for name, count in patients.items() if count >= MIN_PATIENTS]
    while shown and 0 < sum(patients.values()) - sum(patients[name] for name in shown) < MIN_PATIENTS:
        shown.remove(min(shown, key=lambda name: patients[name]))
    return shown

"""Where a network errs: by the distance of the TBS from the cut, and by subgroup."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.intervals import Estimate, estimates
from dxa_tbs.evaluation.measured import build_scored
from dxa_tbs.report.documents import ABSENT, Document, with_interval
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain_marks
from dxa_tbs.report.labels import naming_columns, printed_name
from dxa_tbs.report.patients import MIN_PATIENTS, levels, publishable
from dxa_tbs.report.study import Study
from dxa_tbs.runs.records import SPLIT_COLUMNS

HIDDEN = f"no group of fewer than {MIN_PATIENTS} patients is shown, nor one that would reveal such a group"
BAND_WIDTH = 0.05  # TBS units, from the cut on
BANDS_EACH_SIDE = 3


def tbs_bands_table(study: Study) -> list[Document]:
    """Return the error rate by band of TBS around the cut, if the TBS is known."""
    rows = [
        naming_columns(one) | {"band": band} | _of_group(one, chosen, ("error",))
        for one in study.experiments
        for band, chosen in _shown(one, _bands(one))
    ]
    if not rows:
        return []
    notes = [
        *study.banner,
        f"bands of {BAND_WIDTH:g} on both sides of the cut; {HIDDEN}",
        *explain_marks(study.experiments),
    ]
    return [Document("tbs_bands", "Error rate by TBS", pd.DataFrame(rows), pd.DataFrame(map(_print_band, rows)), notes)]


def subgroups_table(study: Study) -> list[Document]:
    """Return error rate, sensitivity and specificity by subgroup, if the cohort has subgroup columns."""
    rows = [
        naming_columns(one)
        | {"column": column, "group": name}
        | _of_group(one, chosen, ("error", "sensitivity", "specificity"))
        for one in study.experiments
        for column in one.images.columns.drop(list(SPLIT_COLUMNS), errors="ignore")
        for name, chosen in _shown(one, levels(one.images[column]))
    ]
    if not rows:
        return []
    notes = [
        *study.banner,
        f"age by decades, other numbers by tertiles; {HIDDEN}",
        *explain_marks(study.experiments),
    ]
    return [Document("subgroups", "Subgroups", pd.DataFrame(rows), pd.DataFrame(map(_print_subgroup, rows)), notes)]


def _print_band(row: dict[str, Any]) -> dict[str, str]:
    return {
        **printed_name(row),
        "TBS": row["band"],
        "Patients": ABSENT if row["patients"] is None else str(row["patients"]),
        "Images": str(row["n"]),
        "Error rate": _print(row, "error"),
    }


def _print_subgroup(row: dict[str, Any]) -> dict[str, str]:
    return {
        **printed_name(row),
        "Subgroup": f"{row['column']} {row['group']}",
        "Patients": ABSENT if row["patients"] is None else str(row["patients"]),
        "Images": f"{row['n']} ({row['degraded']} Degraded)",
        "Error rate": _print(row, "error"),
        "Sensitivity": _print(row, "sensitivity"),
        "Specificity": _print(row, "specificity"),
    }


def _bands(one: Experiment) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and members of each band, which holds its upper edge, as Degraded holds the cut."""
    tbs, cut = one.images["tbs"], float(one.first.config["labels"]["degraded_max_tbs"])
    edges = [round(cut + BAND_WIDTH * step, 3) for step in range(-BANDS_EACH_SIDE + 1, BANDS_EACH_SIDE)]
    yield f"to {edges[0]:.2f}", (tbs <= edges[0]).to_numpy()
    for low, high in itertools.pairwise(edges):
        yield f"{low:.2f} to {high:.2f}", ((tbs > low) & (tbs <= high)).to_numpy()
    yield f"above {edges[-1]:.2f}", (tbs > edges[-1]).to_numpy()
    yield "unknown", tbs.isna().to_numpy()


def _shown(one: Experiment, groups: Iterator[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield those groups of which something may be published."""
    members = dict(groups)
    sizes = {name: int(one.images["patient_id"][chosen].nunique()) for name, chosen in members.items()}
    yield from ((name, members[name]) for name in publishable(sizes))


def _of_group(one: Experiment, chosen: np.ndarray, metrics: Sequence[str]) -> dict[str, Any]:
    """Return size and metrics of some of the test images."""
    scored, who = one.scored, one.images[chosen]
    labels = scored.labels[chosen]
    patients = int(who["patient_id"].nunique()) if one.knows_patients else None
    size = {"patients": patients, "n": len(who), "degraded": int(labels.sum())}
    calls = scored.calls[:, chosen].astype(float)
    found = estimates(build_scored(labels, calls, scored.patients[chosen], threshold=0.5, folds=scored.folds[chosen]))
    right = found["accuracy"]
    found["error"] = Estimate(1 - right.value, 1 - right.high, 1 - right.low, right.method)
    parts = ("value", "low", "high")
    return size | {f"{metric}_{part}": getattr(found[metric], part) for metric in metrics for part in parts}


def _print(row: dict[str, Any], metric: str) -> str:
    return with_interval(Estimate(row[f"{metric}_value"], row[f"{metric}_low"], row[f"{metric}_high"], ""))

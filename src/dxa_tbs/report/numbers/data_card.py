"""Data card: patients, images, TBS and subgroups of each cohort and split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dxa_tbs.report.documents import ABSENT, Document
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.patients import FEW, MIN_PATIENTS, levels, publishable, read_patients
from dxa_tbs.report.study import Study
from dxa_tbs.runs.records import SPLIT_COLUMNS


def data_card_table(study: Study) -> list[Document]:
    """Return one row per part (train, val, test) of each split of a cohort, originals alone."""
    by_data = {one.first.facts["data_sha256"]: one for one in reversed(study.experiments)}  # the first of each
    chosen = [one for one in study.experiments if by_data[one.first.facts["data_sha256"]] is one]
    frame = pd.DataFrame(row for one in chosen for row in _parts(one, study.root)).astype({"patients": "Int64"})
    texts = {name: name.replace("_", " ").capitalize() for name in frame.columns}
    printed = frame.astype(object).where(frame.notna(), ABSENT).map(str).drop(columns="run")
    printed = printed.rename(columns=texts | {"tbs": "TBS", "bmi": "BMI"})
    notes = [
        *study.banner,
        f"mean (SD; quartiles), or patients of each level; originals alone; no group of fewer than {MIN_PATIENTS} "
        "patients",
    ]
    return [Document("data_card", "Data card", frame, printed, notes)]


def _parts(one: Experiment, root: Path) -> Iterator[dict[str, Any]]:
    run = one.first
    patients = read_patients(root / run.folder)
    patients = patients[patients["origin"] == ""]
    subgroups = [name for name in patients.columns if name not in SPLIT_COLUMNS]
    fold = run.config["split"].get("fold")
    of_fold = "" if fold is None else f", fold {fold} of {run.config['split']['folds']}"
    for split in ("train", "val", "test"):
        part = patients[patients["split"] == split]
        if len(part):
            names = {"dataset": run.config["dataset"]["name"], "split": split + of_fold, "run": run.folder}
            yield names | _describe(part, subgroups, knows_patients=one.knows_patients)


def _describe(part: pd.DataFrame, subgroups: Sequence[str], *, knows_patients: bool) -> dict[str, Any]:
    size = {
        "patients": int(part["patient_id"].nunique()) if knows_patients else None,
        "images": len(part),
        "degraded": int(part["label"].sum()),
    }
    return size | {name: _spread(part, name) for name in ("tbs", *subgroups)}


def _spread(part: pd.DataFrame, name: str) -> str | None:
    """Return mean, standard deviation and quartiles of a measurement, or the patients of each level of a code."""
    values = part[name]
    if name == "tbs" or (pd.api.types.is_numeric_dtype(values) and values.nunique() > FEW):
        known = values.dropna()
        if part["patient_id"][known.index].nunique() < MIN_PATIENTS:
            return None
        low, high = known.quantile([0.25, 0.75])
        return f"{known.mean():.3g} ({known.std():.2g}; {low:.3g} to {high:.3g})"
    sizes = {level: int(part["patient_id"][chosen].nunique()) for level, chosen in levels(values)}
    shown = publishable(sizes)
    hidden = sum(sizes.values()) - sum(sizes[level] for level in shown)
    return ", ".join([f"{level} {sizes[level]}" for level in shown] + ["others"] * (hidden > 0))

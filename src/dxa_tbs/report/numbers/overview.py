"""What was run, on whom, on what, and which images it got wrong: one row per run, image, split or machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.metrics import binary_auc
from dxa_tbs.evaluation.rates import counts, metrics_of_counts
from dxa_tbs.report.documents import ABSENT, Document, number, with_interval
from dxa_tbs.report.footnotes import title
from dxa_tbs.report.numbers.trainings import count_failed, failures, sd_of_auc
from dxa_tbs.report.patients import FEW, MIN_PATIENTS, NO_SUBGROUPS, levels, publishable, read_who
from dxa_tbs.report.runs import Experiment, Run
from dxa_tbs.runs.files import read_csv
from dxa_tbs.runs.identity import flatten
from dxa_tbs.verification.seal import is_sealed

OVERVIEW = {"auc": "AUC", "sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1-Score"}
TIMES = {  # of timing.json, in seconds
    "data_s": "Data",
    "prepare_s": "Preparation",
    "compile_s": "Recording",
    "train_10_epochs_s": "Training, 10 epochs",
    "val_10_epochs_s": "Validation, 10 epochs",
    "time_10_epochs_s": "Time of 10 epochs",
}


def overview_document(experiments: Sequence[Experiment], banner: Sequence[str]) -> Document:
    """Return one row per experiment, best AUC on validation first."""
    sets = [one.test_set for one in experiments]
    order = sorted(experiments, key=lambda one: (sets.index(one.test_set), -np.nan_to_num(one.val_auc, nan=-1)))
    rows = [
        {"experiment": title(one), "run": one.folder, "seeds": len(one.seeds), "test_set": one.test_set}
        | {"n": len(one.scored.labels), "val_auc": one.val_auc, "auc_sd": sd_of_auc(one)}
        | {"auc_of_seeds": " ".join(map(number, one.auc_of_each)), "failed": count_failed(one)}
        | {
            f"{name}_{part}": getattr(one.estimates[name], part)
            for name in OVERVIEW
            for part in ("value", "low", "high")
        }
        for one in order
    ]
    printed = pd.DataFrame(
        {
            "Experiment": title(one),
            "Seeds": str(len(one.seeds)),
            "n": str(len(one.scored.labels)),
            "AUC on validation": number(one.val_auc),
            **{text: with_interval(one.estimates[name]) for name, text in OVERVIEW.items()},
            "AUC, SD over seeds": number(sd_of_auc(one)),
            "AUC of each seed": " ".join(map(number, one.auc_of_each)) if len(one.seeds) > 1 else ABSENT,
            "Run": one.folder,
        }
        for one in order
    )
    notes = [
        *banner,
        "by the AUC on validation (originals alone); test figures with 95 % intervals: with one seed for this training "
        "on other patients, with several for other trainings too",
        *(f"{title(one)}: {text}" for one in order if (text := failures(one))),
    ]
    return Document("overview", "All experiments", pd.DataFrame(rows), printed, notes)


def runs_document(experiments: Sequence[Experiment], banner: Sequence[str]) -> Document:
    """Return one row per run: counts and metrics on its test images, epochs, and where its time went."""
    rows = [_of_run(one, run) for one in experiments for run in one.runs]
    printed = pd.DataFrame(
        {
            "Run": row["run"],
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
        for row in rows
    )
    notes = [*banner, "at the fixed threshold; validation: its originals alone, no augmented copies; times in seconds"]
    if unverified := sum(not row["verified"] for row in rows):
        told = f"unverified: {unverified} of {len(rows)} runs: version 0.1.0 stored no digests of its files"
        notes.append(f"{told}, which agree with one another")
    return Document("runs", "Runs", pd.DataFrame(rows), printed, notes)


def errors_document(experiments: Sequence[Experiment], root: Path, banner: Sequence[str]) -> Document | None:
    """Return the wrongly called test images whose thumbnails the first run of each experiment kept; None: none did."""
    rows = [row for one in experiments for row in _errors(one, root)]
    if not rows:
        return None
    printed = pd.DataFrame(
        {
            "Experiment": row["experiment"],
            "Image": row["image_id"],
            "Error": row["kind"],
            "Place": row["place"],
            "Score": number(row["score"]),
            "From threshold": signed(row["from_threshold"]),
            "TBS": number(row["tbs"]),
            "From cut": signed(row["from_cut"]),
        }
        for row in rows
    )
    notes = [*banner, "of each kind those nearest to and farthest from the threshold, of each experiment's first run"]
    return Document("errors", "Failure analysis: wrongly called test images", pd.DataFrame(rows), printed, notes)


def signed(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:+.3f}"


def data_card(experiments: Sequence[Experiment], root: Path, banner: Sequence[str]) -> Document:
    """Return, for each cohort and split, who the originals are of: counts, TBS, subgroup columns."""
    rows, seen = [], set()
    for one in experiments:
        run = one.first
        key = run.facts["data_sha256"]
        if key in seen:
            continue
        seen.add(key)
        who = read_who(root / run.folder)
        who = who[who["origin"] == ""]
        extra = [name for name in who.columns if name not in NO_SUBGROUPS]
        fold = run.config["split"].get("fold")
        for split in ("train", "val", "test"):
            part = who[who["split"] == split]
            if len(part):
                of_fold = "" if fold is None else f", fold {fold} of {run.config['split']['folds']}"
                named = {"dataset": run.config["dataset"]["name"], "split": split + of_fold, "run": run.folder}
                rows.append(named | _of_part(part, extra, knows_patients=one.knows_patients))
    frame = pd.DataFrame(rows).astype({"patients": "Int64"})
    texts = {name: name.replace("_", " ").capitalize() for name in frame.columns}
    printed = frame.astype(object).where(frame.notna(), ABSENT).map(str).drop(columns="run")
    printed = printed.rename(columns=texts | {"tbs": "TBS", "bmi": "BMI"})
    notes = [
        *banner,
        f"mean (SD; quartiles), patients of each level; originals alone; nothing of fewer than {MIN_PATIENTS} patients",
    ]
    return Document("data_card", "Data card", frame, printed, notes)


def environment_document(experiments: Sequence[Experiment]) -> Document:
    """Return what the runs were computed with, each distinct value with the number of runs."""
    values: dict[str, dict[str, int]] = {}
    runs = [run for one in experiments for run in one.runs]
    for run in runs:
        for key, value in flatten(run.environment).items():
            if not key.startswith(("weights", "started", "study_sha256")):
                of_key = values.setdefault(key.removeprefix("packages."), {})
                text = ABSENT if value is None else str(value)
                of_key[text] = of_key.get(text, 0) + 1
    rows = [{"what": key, "value": text, "runs": n} for key, of_key in values.items() for text, n in of_key.items()]
    frame = pd.DataFrame(rows, columns=["what", "value", "runs"])
    printed = frame.map(str).rename(columns={"what": "", "value": "Value", "runs": f"Runs of {len(runs)}"})
    return Document("environment", "Environment", frame, printed, [])


def _of_run(one: Experiment, run: Run) -> dict[str, Any]:
    labels, scores = run.test["label"].to_numpy(), run.test["score"].to_numpy()
    threshold = float(run.facts["thresholds"]["fixed"])
    cells = counts(labels, (scores >= threshold)[None])
    config = run.config
    return {
        "run": run.folder,
        "experiment": title(one),
        "seed": config["seed"],
        "fold": config["split"].get("fold"),
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


def _errors(one: Experiment, root: Path) -> Iterator[dict[str, Any]]:
    run = one.first
    file = root / run.folder / "errors.csv"
    if not file.is_file():
        return
    errors = read_csv(file).merge(run.test[["image_id", "tbs"]], on="image_id", validate="one_to_one")
    threshold, cut = run.facts["thresholds"]["fixed"], run.config["labels"]["degraded_max_tbs"]
    for row in errors.to_dict("records"):
        yield {
            "experiment": title(one),
            "run": run.folder,
            "image_id": row["image_id"],
            "kind": row["kind"].replace("_", " "),
            "place": row["place"],
            "score": row["score"],
            "from_threshold": row["score"] - threshold,
            "tbs": row["tbs"],
            "from_cut": row["tbs"] - cut,
            "file": row["file"],
        }


def _of_part(part: pd.DataFrame, extra: Sequence[str], *, knows_patients: bool) -> dict[str, Any]:
    size = {
        "patients": int(part["patient_id"].nunique()) if knows_patients else None,
        "images": len(part),
        "degraded": int(part["label"].sum()),
    }
    return size | {name: _spread(part, name) for name in ("tbs", *extra)}


def _spread(part: pd.DataFrame, name: str) -> str | None:
    """Return mean, standard deviation and quartiles of many numbers, or the patients of each level of anything else."""
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

"""What must be beaten, and what must not be possible: simple baselines on the same split, and controls.

Baselines are logistic regressions on a few numbers of each image (measures.csv), fitted on the training originals and
tested on the very test images of the networks. The slope of the variogram is the published idea behind TBS, not TBS.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dxa_tbs import records
from dxa_tbs.evaluation.comparisons import compare, holm
from dxa_tbs.evaluation.intervals import Estimate, Scored, estimates, resample
from dxa_tbs.report.documents import Document, number, p_value, with_interval
from dxa_tbs.report.marks import title
from dxa_tbs.report.runs import Experiment

SLOPE = "variogram slope"
BASELINES: dict[str, tuple[str, ...]] = {  # name: columns of measures.csv
    "majority class": (),
    "grey level": ("grey",),
    SLOPE: ("variogram_slope",),
    "grey level and variogram slope": ("grey", "variogram_slope"),
    "vertebrae alone: grey level and slope": ("vertebrae_grey", "variogram_slope"),
    "background alone: grey level and slope": ("background_grey", "background_slope"),
}
SHOWN = {"sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1-Score", "auc": "AUC"}
THRESHOLD = 0.5
NOT_PERMUTED = "no run with permuted labels here: add labels.permuted_seed=0 to a training command"


@dataclasses.dataclass(frozen=True)
class Ground:
    """Experiments that were trained and tested on the same images, and the baselines of that split."""

    experiments: list[Experiment]
    controls: list[Experiment]
    baselines: dict[str, Scored]


def find_grounds(experiments: Sequence[Experiment], controls: Sequence[Experiment], root: Path) -> list[Ground]:
    """Return one ground per split of the same images; controls stand with the one of their patients."""
    by_split: dict[tuple[str, ...], list[Experiment]] = {}
    for one in experiments:
        by_split.setdefault(_split_of(one), []).append(one)
    grounds = []
    for members in by_split.values():
        who = _who(members[0])
        beside = [control for control in controls if _who(control) == who]
        grounds.append(Ground(members, beside, _baselines(members[0], root)))
    return grounds


def sanity_documents(grounds: Sequence[Ground], banner: Sequence[str]) -> list[Document]:
    """Return, for each ground, the table of baselines and controls, and that of networks against the slope."""
    documents = []
    for place, ground in enumerate(grounds):
        suffix = f"_{place + 1}" if len(grounds) > 1 else ""
        of_set = f", test set {ground.experiments[0].test_set}" if len(grounds) > 1 else ""
        documents.append(_sanity(ground, f"sanity{suffix}", of_set, banner))
        if SLOPE in ground.baselines:
            documents.append(_against_slope(ground, f"against_slope{suffix}", of_set, banner))
    return documents


def against_slope(ground: Ground) -> pd.DataFrame:
    """Return AUC of each experiment and of the slope, the difference, its 95 % interval, p, and p after Holm."""
    slope, rows = ground.baselines[SLOPE], []
    reached = estimates(slope)["auc"]
    for one in ground.experiments:
        found = compare(one.scored, slope)["auc"]
        names = {"experiment": title(one), "run": one.folder, "n": len(slope.labels)}
        aucs = {"auc": one.estimates["auc"].value, "auc_of_slope": reached.value}
        rows.append({**names, **aucs, **dataclasses.asdict(found)})
    frame = pd.DataFrame(rows)
    return frame.assign(p_holm=holm(frame["p"].tolist()), beats=(frame["low"] > 0))


def _sanity(ground: Ground, name: str, of_set: str, banner: Sequence[str]) -> Document:
    found: dict[str, tuple[Mapping[str, Estimate], int]] = {
        baseline: (estimates(scored), 1) for baseline, scored in ground.baselines.items()
    }
    for control in ground.controls:
        found[f"{title(control)}: {control.control}"] = (control.estimates, len(control.seeds))
    num_images = len(ground.experiments[0].scored.labels)
    rows = [
        {"row": row, "n": num_images, "seeds": seeds, "metric": metric, **dataclasses.asdict(of_row[metric])}
        for row, (of_row, seeds) in found.items()
        for metric in SHOWN
    ]
    printed = pd.DataFrame(
        [
            {"": row, "n": str(num_images)} | {text: with_interval(of_row[metric]) for metric, text in SHOWN.items()}
            for row, (of_row, _) in found.items()
        ]
    )
    notes = [*banner, "baselines: logistic regression on the training originals, threshold 0.5, the same test images"]
    notes += [f"no baseline of a run without measures.csv or training: {ground.experiments[0].folder}"] * (not rows)
    lacking = [baseline for baseline in BASELINES if baseline not in ground.baselines]
    if ground.baselines and lacking:
        notes.append(
            f"not to be had, since images have no box around the vertebrae, or no texture: {'; '.join(lacking)}"
        )
    if not any("permuted" in control.control for control in ground.controls):
        notes.append(NOT_PERMUTED)
    return Document(name, f"Sanity: baselines and controls{of_set}", pd.DataFrame(rows), printed, notes)


def _against_slope(ground: Ground, name: str, of_set: str, banner: Sequence[str]) -> Document:
    frame = against_slope(ground)
    printed = pd.DataFrame(
        {
            "Experiment": frame["experiment"],
            "n": frame["n"].map(str),
            "AUC": frame["auc"].map(number),
            "AUC of the slope": frame["auc_of_slope"].map(number),
            "Difference": [with_interval(Estimate(r.difference, r.low, r.high, r.test)) for r in frame.itertuples()],
            "Holm": frame["p_holm"].map(p_value),
            "Beats the slope": frame["beats"].map({True: "yes", False: "no"}),
        }
    )
    test = ", ".join(sorted(set(frame["test"])))
    notes = [*banner, f"{test}; a network beats the slope if the whole 95 % interval of the difference lies above 0"]
    return Document(name, f"Networks against the variogram slope alone{of_set}", frame, printed, notes)


def _split_of(experiment: Experiment) -> tuple[str, ...]:
    config = experiment.first.config
    settings = str({key: value for key, value in config["preprocessing"].items() if key != "region"})
    return (*(str(run.facts["data_sha256"]) for run in experiment.repeats[0]), settings)


def _who(experiment: Experiment) -> str:
    """Return whose images are in an experiment's cohort, whatever their labels."""
    return str(experiment.first.config["dataset"] | {"name": ""})


def _baselines(experiment: Experiment, root: Path) -> dict[str, Scored]:
    """Return the baselines of an experiment's split, its folds pooled; none without the images they are fitted on."""
    folds = []
    for run in experiment.repeats[0]:
        file = root / run.folder / "measures.csv"
        if "evaluated_run" in run.facts or not file.is_file():
            return {}
        measures = records.read_table(file)
        who = records.read_table(root / run.folder / "split.csv", columns=["image_id", "split", "label", "origin"])
        originals = who[who["origin"] == ""].merge(measures, on="image_id", validate="one_to_one")
        folds.append((originals[originals["split"] == "train"], originals[originals["split"] == "test"]))
    found = {}
    for name, columns in BASELINES.items():
        wanted = list(columns)
        if any(part[wanted].isna().any(axis=None) for fold in folds for part in fold):
            continue
        parts = [test.assign(score=_fit(train, test, wanted)) for train, test in folds]
        scores = pd.concat(parts).sort_values("image_id")["score"].to_numpy()[None]
        scored = experiment.scored
        found[name] = resample(scored.labels, scores, scored.patients, threshold=THRESHOLD)
    return found


def _fit(train: pd.DataFrame, test: pd.DataFrame, columns: list[str]) -> np.ndarray:
    if not columns:
        return np.full(len(test), train["label"].mean())
    line = make_pipeline(StandardScaler(), LogisticRegression())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a fit that did not converge is none
        line.fit(train[columns].to_numpy(), train["label"].to_numpy())
    return np.asarray(line.predict_proba(test[columns].to_numpy())[:, 1])

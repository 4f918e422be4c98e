"""What must be beaten, and what must not be possible: simple baselines on the same split, and controls.

Baselines are logistic regressions on a few numbers of each image (measures.csv), fitted on the training originals and
tested on the very test images of the networks. The slope of the variogram is the published idea behind TBS, not TBS.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dxa_tbs.evaluation.comparisons import compare, holm, smallest_difference
from dxa_tbs.evaluation.intervals import Estimate, estimates
from dxa_tbs.evaluation.measured import Scored, build_scored
from dxa_tbs.report.documents import Document, number, p_value, with_interval
from dxa_tbs.report.footnotes import title
from dxa_tbs.report.runs import Experiment
from dxa_tbs.runs.files import read_csv

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
ALPHA = 0.05
NO_BASELINES = "no run of this split has both training images and measures.csv"
NOT_PERMUTED = "no run with permuted labels here: add labels.permuted_seed=0 to a training command"


@dataclasses.dataclass(frozen=True)
class Ground:
    """Experiments that were trained and tested on the same images, and the baselines of that split.

    Attributes:
        primary_run: folder of the experiment whose comparison with the slope is the study's primary one; else empty.
    """

    experiments: list[Experiment]
    controls: list[Experiment]
    baselines: dict[str, Scored]
    primary_run: str = ""


def find_grounds(experiments: Sequence[Experiment], controls: Sequence[Experiment], root: Path) -> list[Ground]:
    """Return one ground per split of the same images; controls stand with the one of their images and split."""
    by_split: dict[tuple[str, ...], list[Experiment]] = {}
    for one in experiments:
        by_split.setdefault(_split_of(one), []).append(one)
    grounds = []
    for members in by_split.values():
        beside = [control for control in controls if _whose(control) == _whose(members[0])]
        baselines = next((found for one in members if (found := _baselines(one, root))), {})
        grounds.append(Ground(members, beside, baselines))
    return grounds


def controls_of_none(grounds: Sequence[Ground], controls: Sequence[Experiment]) -> list[str]:
    """Return a line for each control that stands with no experiment."""
    placed = {one.folder for ground in grounds for one in ground.controls}
    text = "a control without an experiment on the same images and split: "
    return [text + control.folder for control in controls if control.folder not in placed]


def without_sanity(grounds: Sequence[Ground]) -> list[str]:
    """Return a line for each ground that has neither baselines nor controls."""
    bare = [ground.experiments[0] for ground in grounds if not ground.baselines and not ground.controls]
    return [f"no baselines and no controls: {NO_BASELINES}: test set {one.set_name or one.test_set}" for one in bare]


def sanity_documents(grounds: Sequence[Ground], banner: Sequence[str]) -> list[Document]:
    """Return, for each ground, the table of baselines and controls, and that of networks against the slope."""
    documents = []
    for place, ground in enumerate(grounds):
        suffix = f"_{place + 1}" if len(grounds) > 1 else ""
        first = ground.experiments[0]
        of_set = f", {first.set_name or first.test_set}" if len(grounds) > 1 else ""
        if ground.baselines or ground.controls:
            documents.append(_sanity(ground, f"sanity{suffix}", of_set, banner))
        if SLOPE in ground.baselines:
            documents.append(_against_slope(ground, f"against_slope{suffix}", of_set, banner))
    return documents


def against_slope(ground: Ground) -> pd.DataFrame:
    """Return AUC of each experiment and of the slope, the difference, its 95 % interval, p, and p after Holm.

    A primary comparison is tested alone. `can_show` is about the difference that would be found with 80 % power.
    """
    slope, rows = ground.baselines[SLOPE], []
    reached = estimates(slope)["auc"]
    for one in ground.experiments:
        found = compare(one.scored, slope)["auc"]
        names = {"experiment": title(one), "run": one.folder, "n": len(slope.labels)}
        aucs = {"auc": one.estimates["auc"].value, "auc_of_slope": reached.value}
        rows.append({**names, **aucs, **dataclasses.asdict(found)})
    frame = pd.DataFrame(rows)
    others = frame["run"] != ground.primary_run
    frame["p_holm"] = frame["p"]
    frame.loc[others, "p_holm"] = holm(frame.loc[others, "p"].tolist())
    frame["can_show"] = [smallest_difference(row.error, row.df) for row in frame.itertuples()]
    return frame.assign(beats=(frame["difference"] > 0) & (frame["p_holm"] < ALPHA))


def _sanity(ground: Ground, name: str, of_set: str, banner: Sequence[str]) -> Document:
    found = [(row, estimates(scored), len(scored.labels), "") for row, scored in ground.baselines.items()]
    found += [
        (f"{title(one)}: {one.control}", one.estimates, len(one.scored.labels), one.folder) for one in ground.controls
    ]
    rows = [
        {"row": row, "run": run, "n": num_images, "metric": metric, **dataclasses.asdict(of_row[metric])}
        for row, of_row, num_images, run in found
        for metric in SHOWN
    ]
    printed = pd.DataFrame(
        {"": row, "n": str(num_images)} | {text: with_interval(of_row[metric]) for metric, text in SHOWN.items()}
        for row, of_row, num_images, _ in found
    )
    notes = [*banner, "baselines: logistic regression on the training originals, threshold 0.5, the same test images"]
    lacking = [baseline for baseline in BASELINES if baseline not in ground.baselines]
    if not ground.baselines:
        notes.append(f"no baselines: {NO_BASELINES}")
    elif lacking:
        notes.append(
            f"not to be had, since images have no box around the vertebrae or no texture: {'; '.join(lacking)}"
        )
    if ground.baselines and not any("permuted" in control.control for control in ground.controls):
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
            "Shown with 80 % power": frame["can_show"].map(number),
            "Beats the slope": frame["beats"].map({True: "yes", False: "no"}),
        }
    )
    test = "; ".join(sorted(set(frame["test"])))
    notes = [
        *banner,
        f"{test}; a network beats the slope if the difference is above 0 and p, after Holm, below {ALPHA:g}",
        "shown with 80 % power: about the smallest true difference that these images and trainings would find, without "
        "correction",
    ]
    if any(one.num_trainings == 1 for one in ground.experiments):
        notes.append("one training: this trained network against the slope; another training could differ")
    return Document(name, f"Networks against the variogram slope alone{of_set}", frame, printed, notes)


def _split_of(experiment: Experiment) -> tuple[str, ...]:
    return (*(str(run.facts["data_sha256"]) for run in experiment.repeats[0]), _preprocessing(experiment))


def _whose(experiment: Experiment) -> tuple[str, ...]:
    """Return what an experiment and its controls share: whose images, their split and preprocessing; not the labels."""
    dataset = str(experiment.first.config["dataset"]["name"])
    return (*(run.who_sha256 for run in experiment.repeats[0]), dataset, _preprocessing(experiment))


def _preprocessing(experiment: Experiment) -> str:
    return str({key: value for key, value in experiment.first.config["preprocessing"].items() if key != "region"})


def _baselines(experiment: Experiment, root: Path) -> dict[str, Scored]:
    """Return the baselines of an experiment's split, its folds pooled; none without the images they are fitted on."""
    folds = []
    for run in experiment.repeats[0]:
        file = root / run.folder / "measures.csv"
        if "evaluated_run" in run.facts or not file.is_file():
            return {}
        measures = read_csv(file).set_index("image_id").apply(pd.to_numeric, errors="coerce").reset_index()
        who = read_csv(root / run.folder / "split.csv", columns=["image_id", "split", "label", "origin"])
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
        found[name] = build_scored(scored.labels, scores, scored.patients, threshold=THRESHOLD, folds=scored.folds)
    return found


def _fit(train: pd.DataFrame, test: pd.DataFrame, columns: list[str]) -> np.ndarray:
    if not columns:
        return np.full(len(test), train["label"].mean())
    line = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a fit that did not converge is none
        line.fit(train[columns].to_numpy(), train["label"].to_numpy())
    return np.asarray(line.predict_proba(test[columns].to_numpy())[:, 1])

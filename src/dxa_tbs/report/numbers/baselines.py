"""Simple baselines: logistic regressions on a few measures of each image.

They are fitted on the training originals and tested on the test images of the networks, from measures.csv. The slope of
the variogram is the published idea behind TBS; it is not TBS.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dxa_tbs.evaluation.measured import Scored, build_scored
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.runs.files import MEASURES_CSV
from dxa_tbs.runs.records import read_measures, read_split

SLOPE = "variogram slope"
BASELINES: dict[str, tuple[str, ...]] = {  # name: columns of measures.csv
    "majority class": (),
    "grey level": ("grey",),
    SLOPE: ("variogram_slope",),
    "grey level and variogram slope": ("grey", "variogram_slope"),
    "vertebrae alone: grey level and slope": ("vertebrae_grey", "variogram_slope"),
    "background alone: grey level and slope": ("background_grey", "background_slope"),
}
THRESHOLD = 0.5
ALPHA = 0.05  # level of significance of every test in the report
NO_BASELINES = f"no run of this split has both training images and {MEASURES_CSV}"


def fit_baselines(experiment: Experiment, root: Path) -> dict[str, Scored]:
    """Return the baselines of an experiment's split by name, its folds pooled.

    The dict is empty if the run holds no training images or no measures.csv. It lacks a baseline if an image lacks one
    of its measures.
    """
    folds = []
    for run in experiment.repeats[0]:
        run_dir = root / run.folder
        if "evaluated_run" in run.facts or not (run_dir / MEASURES_CSV).is_file():
            return {}
        patients = read_split(run_dir, columns=["image_id", "split", "label", "origin"])
        originals = patients[patients["origin"] == ""].merge(
            read_measures(run_dir), on="image_id", validate="one_to_one"
        )
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

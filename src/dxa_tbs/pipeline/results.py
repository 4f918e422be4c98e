"""Compute the results of a run from its scores: metrics, thumbnails of errors and figures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dxa_tbs.config.choices import Fit
from dxa_tbs.config.kinds import kind_of, resolve
from dxa_tbs.config.schema import Config
from dxa_tbs.data.window import crop_corner
from dxa_tbs.evaluation.metrics import best_f1_threshold, binary_metrics, score_warnings
from dxa_tbs.pipeline.prepare import Prepared
from dxa_tbs.runs.files import ERRORS, ERRORS_CSV, FIGURES, write_csv
from dxa_tbs.runs.records import COLUMNS, read_history, read_metrics, read_predictions, read_split
from dxa_tbs.tasks.task import Task

log = logging.getLogger("dxa_tbs.outcome")

ERROR_KINDS = {"false_negative": 1, "false_positive": 0}  # kind of error: the true label of its images


THRESHOLD_OF = "validation originals"  # version 0.1.0 also used their copies, and did not record this key


def threshold_of(run_dir: Path) -> float:
    """Return the threshold with the best F1 on the validation originals of a trained run.

    The threshold is computed again, because version 0.1.0 chose the one in metrics.json on augmented copies too.
    """
    origins = read_split(run_dir, columns=["image_id", "origin"]).set_index("image_id")["origin"]
    scored = read_predictions(run_dir)
    val = scored[(scored["split"] == "val") & (origins[scored["image_id"]] == "").to_numpy()]
    return best_f1_threshold(val["label"].to_numpy(), val["score"].to_numpy())


def watched_loss(run_dir: Path) -> float | None:
    """Return the watched validation loss of the tested epoch of a finished run; None for an evaluation."""
    tested_epoch = read_metrics(run_dir).get("tested_epoch")
    if tested_epoch is None:
        return None
    return float(read_history(run_dir).epochs.set_index("epoch").loc[tested_epoch, "watched_loss"])


@dataclass(frozen=True)
class ScoredRun:
    """A run with the scores of its images.

    Attributes:
        predictions: image_id, split, label and score of all images outside train (predictions.csv).
        is_initialised_as_configured: False for an ImageNet network that was initialised at random, not pretrained.
        tested_epoch: None for an evaluation.
        source: the run whose weights are evaluated; None: they were trained just now.
    """

    run_dir: Path
    config: Config
    prepared: Prepared
    predictions: pd.DataFrame
    is_initialised_as_configured: bool
    tested_epoch: int | None
    source: Path | None


def write_results(task: Task, scored: ScoredRun) -> dict[str, Any]:
    """Write the results of the task into the run folder; return their part of metrics.json.

    A task without a `write_results` function gets only its metric, for each split.
    """
    if write := kind_of("task", scored.config.task).write_results:
        results: dict[str, Any] = resolve(write)(scored)
        return results
    columns = list(task.score_columns)
    return {
        name: {task.metric_name: task.metric(part[task.target].to_numpy(), part[columns].to_numpy().squeeze())}
        for name, part in scored.predictions.groupby("split")
    }


def write_binary(scored: ScoredRun) -> dict[str, Any]:
    """Write thumbnails of errors and all figures; return metrics and thresholds."""
    table, settings = scored.prepared.table, scored.config.evaluation
    is_original = table.loc[scored.predictions.index, "origin"] == ""
    chosen = None if scored.source is None else threshold_of(scored.source)
    results = score(scored.predictions[is_original], fixed=settings.threshold, val_f1=chosen)
    pixels_of, threshold = scored.prepared.pixels_of, settings.threshold
    keep_errors(scored.run_dir, scored.predictions, pixels_of, threshold=threshold, shown=settings.shown_errors)
    draw(scored)
    return results


def score(predictions: pd.DataFrame, *, fixed: float, val_f1: float | None) -> dict[str, Any]:
    """Return the metrics of each split at the fixed threshold and at the one chosen on validation.

    Args:
        predictions: split, label and score; originals only.
        val_f1: the threshold chosen when the weights were trained; None: choose it now, on val.
    """
    parts = {name: (part["label"].to_numpy(), part["score"].to_numpy()) for name, part in predictions.groupby("split")}
    thresholds = {"fixed": fixed, "val_f1": best_f1_threshold(*parts["val"]) if val_f1 is None else val_f1}
    results: dict[str, Any] = {"thresholds": thresholds, "threshold_of": THRESHOLD_OF}
    for name, (labels, scores) in sorted(parts.items(), reverse=True):
        for text in score_warnings(scores, threshold=fixed, split=name):
            log.warning(text)
        results[name] = {f"at_{rule}": binary_metrics(labels, scores, value) for rule, value in thresholds.items()}
    at_fixed = results["test"]["at_fixed"]
    log.info(
        "test: " + ", ".join(f"{name} {at_fixed[name]:.3f}" for name in ("f1", "sensitivity", "specificity", "auc"))
    )
    return results


def keep_errors(
    run_dir: Path,
    predictions: pd.DataFrame,
    pixels_of: Callable[[pd.Index], np.ndarray],
    *,
    threshold: float,
    shown: int,
) -> None:
    """Write thumbnails of misclassified test images, errors/*.png, and their list, errors.csv.

    Args:
        pixels_of: returns the images in these rows of the predictions, uint8 (R, H, W).
        shown: number of images of each kind nearest to the threshold, and of those farthest from it, at most.
    """
    test = predictions[predictions["split"] == "test"]
    test = test.assign(distance=(test["score"] - threshold).abs(), call=(test["score"] >= threshold).astype(int))
    chosen = []
    for kind, label in ERROR_KINDS.items():
        wrong = test[(test["label"] == label) & (test["call"] != label)].sort_values(["distance", "image_id"])
        nearest = wrong.head(shown)
        farthest = wrong.drop(index=nearest.index).iloc[::-1].head(shown)
        chosen += [
            part.assign(kind=kind, place=place) for place, part in (("nearest", nearest), ("farthest", farthest))
        ]
    errors = pd.concat(chosen)
    number = (errors.groupby(["kind", "place"]).cumcount() + 1).astype(str)
    errors["file"] = f"{ERRORS}/" + errors["kind"] + "_" + errors["place"] + "_" + number + ".png"
    for pixels, file in zip(pixels_of(errors.index), errors["file"], strict=True):
        path = run_dir / file
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).reduce(2).save(path)
    write_csv(run_dir / ERRORS_CSV, errors[[*COLUMNS[ERRORS_CSV]]])


def draw(scored: ScoredRun) -> None:
    from dxa_tbs.report.figures import run_figures  # slow to import: loads matplotlib

    prepared, config = scored.prepared, scored.config
    folder, threshold = scored.run_dir / FIGURES, config.evaluation.threshold
    marks = [run_figures.SYNTHETIC] if prepared.is_synthetic else []
    marks += [] if scored.is_initialised_as_configured else [run_figures.NOT_PRETRAINED]
    if scored.tested_epoch is not None:
        run_figures.draw_history(folder, scored.run_dir, tested_epoch=scored.tested_epoch, marks=marks)
    test = scored.predictions[scored.predictions["split"] == "test"]
    labels, scores = test["label"].to_numpy(), test["score"].to_numpy()
    run_figures.draw_roc(folder, labels, scores, threshold=threshold, marks=marks)
    run_figures.draw_confusion(folder, labels, scores, threshold=threshold, marks=marks)
    run_figures.draw_augmentation(folder, prepared.development.table, prepared.development.pixels, marks=marks)
    if config.preprocessing.fit is Fit.crop:
        row, frame, roi = prepared.example["row"], prepared.example["frame"], prepared.example["roi"]
        image, outside = prepared.pixels_of([row])[0], frame if prepared.is_synthetic else None
        corner = crop_corner(frame.shape, roi, config.preprocessing.size_px)
        run_figures.draw_frame_and_crop(folder, frame.shape, image, corner, outside=outside, marks=marks)

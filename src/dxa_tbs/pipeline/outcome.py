"""What a run comes to once its images have scores: metrics and figures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dxa_tbs.config.choices import Fit
from dxa_tbs.config.schema import Config
from dxa_tbs.data.images import read_frame
from dxa_tbs.data.window import crop_corner
from dxa_tbs.evaluation.metrics import alarms, best_f1_threshold, binary_metrics
from dxa_tbs.pipeline.prepare import Prepared
from dxa_tbs.runs.files import METRICS_JSON, read_csv, read_json, write_csv

log = logging.getLogger("dxa_tbs.outcome")

ERROR_KINDS = {"false_negative": 1, "false_positive": 0}  # kind: the label of its images


THRESHOLD_OF = "validation originals"  # of 0.1.0: their augmented copies too, and metrics.json does not say so


def threshold_of(run_dir: Path) -> float:
    """Return the threshold of the best F1 on the validation originals of a trained run.

    Not the one that its metrics.json holds: that of a run of 0.1.0 was chosen on augmented copies too.
    """
    origins = read_csv(run_dir / "split.csv", columns=["image_id", "origin"]).set_index("image_id")["origin"]
    scored = read_csv(run_dir / "predictions.csv")
    val = scored[(scored["split"] == "val") & (origins[scored["image_id"]] == "").to_numpy()]
    return best_f1_threshold(val["label"].to_numpy(), val["score"].to_numpy())


def watched_loss(run_dir: Path) -> float | None:
    """Return the watched validation loss of the tested epoch of a finished run; None for an evaluation, which has none.

    In the history of version 0.1.0 it is called val_loss.
    """
    if not (run_dir / "history.csv").is_file():
        return None
    history = read_csv(run_dir / "history.csv").set_index("epoch")
    tested = history.loc[read_json(run_dir / METRICS_JSON)["tested_epoch"]]
    return float(tested["watched_loss" if "watched_loss" in tested else "val_loss"])


def score(predictions: pd.DataFrame, *, fixed: float, val_f1: float | None) -> dict[str, Any]:
    """Return the metrics of each split at the fixed threshold and at the one chosen on validation.

    Args:
        predictions: split, label and score of originals alone.
        val_f1: the threshold chosen when the weights were trained; None: choose it now, on val.
    """
    parts = {name: (part["label"].to_numpy(), part["score"].to_numpy()) for name, part in predictions.groupby("split")}
    thresholds = {"fixed": fixed, "val_f1": best_f1_threshold(*parts["val"]) if val_f1 is None else val_f1}
    results: dict[str, Any] = {"thresholds": thresholds, "threshold_of": THRESHOLD_OF}
    for name, (labels, scores) in sorted(parts.items(), reverse=True):
        for text in alarms(scores, threshold=fixed, split=name):
            log.warning(text)
        results[name] = {f"at_{rule}": binary_metrics(labels, scores, value) for rule, value in thresholds.items()}
    at_fixed = results["test"]["at_fixed"]
    log.info(
        "test: " + ", ".join(f"{name} {at_fixed[name]:.3f}" for name in ("f1", "sensitivity", "specificity", "auc"))
    )
    return results


def example_frame(cohort: pd.DataFrame, bits: int | None) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the row of the first training image, else of the first, its whole frame and its region of interest."""
    row = int(np.argmax(cohort["split"] == "train"))
    return row, *read_frame(cohort.loc[row], bits=bits)


def keep_errors(run_dir: Path, data: Prepared, predictions: pd.DataFrame, *, threshold: float, shown: int) -> None:
    """Write thumbnails of wrongly called test images, errors/*.png, and which they are, errors.csv.

    Args:
        shown: at most so many of each kind nearest to the threshold, and so many farthest from it.
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
    errors["file"] = "errors/" + errors["kind"] + "_" + errors["place"] + "_" + number + ".png"
    for row, file in errors["file"].items():
        path = run_dir / file
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(data.pixels[row]).reduce(2).save(path)
    write_csv(run_dir / "errors.csv", errors[["image_id", "kind", "place", "score", "file"]])


def draw(
    config: Config,
    run_dir: Path,
    data: Prepared,
    predictions: pd.DataFrame,
    example: tuple[int, np.ndarray, np.ndarray],
    *,
    is_as_meant: bool,
    tested: int | None,
) -> None:
    from dxa_tbs.report.figures import run_figures  # here: training need not wait for matplotlib

    folder, threshold = run_dir / "figures", config.evaluation.threshold
    marks = [run_figures.SYNTHETIC] if data.is_synthetic else []
    marks += [] if is_as_meant else [run_figures.NOT_PRETRAINED]
    if tested is not None:
        run_figures.draw_history(folder, run_dir, tested_epoch=tested, marks=marks)
    test = predictions[predictions["split"] == "test"]
    labels, scores = test["label"].to_numpy(), test["score"].to_numpy()
    run_figures.draw_roc(folder, labels, scores, threshold=threshold, marks=marks)
    run_figures.draw_confusion(folder, labels, scores, threshold=threshold, marks=marks)
    run_figures.draw_augmentation(folder, data.table, data.pixels, marks=marks)
    if config.preprocessing.fit is Fit.crop:
        row, frame, roi = example
        corner = crop_corner(frame.shape, roi)
        outside = frame if data.is_synthetic else None
        run_figures.draw_frame_and_crop(folder, frame.shape, data.pixels[row], corner, outside=outside, marks=marks)

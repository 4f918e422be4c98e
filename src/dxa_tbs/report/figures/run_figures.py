"""The figures of one run: learning curve, ROC curve, confusion matrix, augmentation examples.

`marks` are lines of notes at the foot of a figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn import metrics

from dxa_tbs.report.figures.drawing import BLUE, GREY, ORANGE, new_figure, save
from dxa_tbs.runs.records import read_history

CLASS_NAMES = ("Normal", "Degraded")
SYNTHETIC = "synthetic phantom: shows the pipeline, says nothing of patients"
NOT_PRETRAINED = "random initialisation: nothing is pretrained"


def draw_history(folder: Path, run_dir: Path, *, tested_epoch: int, marks: Sequence[str]) -> None:
    """Draw the losses and the validation AUC by epoch, the tested epoch marked, as learning_curve.png."""
    history, whose = read_history(run_dir)
    figure, (above, below) = new_figure(6.0, 5.0, rows=2)
    above.plot(history["epoch"], history["train_loss"], color=GREY, label="train")
    above.plot(history["epoch"], history["val_loss"], color=BLUE, marker="o", markersize=3, label=whose)
    below.plot(history["epoch"], history["val_auc"], color=BLUE, marker="o", markersize=3)
    for axes in (above, below):
        axes.axvline(tested_epoch, color=ORANGE, linestyle="--", label=f"tested: epoch {tested_epoch}")
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    above.set_ylabel("loss")
    above.legend()
    below.set_ylabel(f"AUC\n({whose})")
    below.set_xlabel("epoch")
    save(figure, folder / "learning_curve", marks=marks)


def draw_roc(folder: Path, labels: np.ndarray, scores: np.ndarray, *, threshold: float, marks: Sequence[str]) -> None:
    """Draw the test ROC curve with the operating point at `threshold`, as roc.png."""
    false_positive, sensitivity, _ = metrics.roc_curve(labels, scores)
    calls = scores >= threshold
    point = (calls[labels == 0].mean(), calls[labels == 1].mean())
    figure, (axes,) = new_figure(5.0, 5.2)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="chance")
    axes.plot(false_positive, sensitivity, color=BLUE, label=f"AUC {metrics.roc_auc_score(labels, scores):.3f}")
    axes.plot(*point, "o", color=ORANGE, label=f"threshold {threshold:g}")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    axes.legend(loc="lower right")
    axes.set_title(f"Test, {int(labels.sum())} Degraded and {int((1 - labels).sum())} Normal")
    save(figure, folder / "roc", marks=marks)


def draw_confusion(
    folder: Path, labels: np.ndarray, scores: np.ndarray, *, threshold: float, marks: Sequence[str]
) -> None:
    """Draw the test counts and their shares of each class at `threshold`, as confusion_matrix.png."""
    counts = metrics.confusion_matrix(labels, scores >= threshold, labels=[0, 1])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, (axes,) = new_figure(4.6, 4.6)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{count}\n{100 * share:.0f} %", ha="center", va="center", color=colour, fontsize=14)
    axes.set_xticks([0, 1], CLASS_NAMES)
    axes.set_yticks([0, 1], CLASS_NAMES, rotation=90, va="center")
    axes.set(xlabel=f"called, threshold {threshold:g}", ylabel="true class")
    axes.set_title("Test images, shares of the true class")
    save(figure, folder / "confusion_matrix", marks=marks)


def draw_frame_and_crop(
    folder: Path,
    shape: tuple[int, ...],
    crop: np.ndarray,
    corner: tuple[int, int],
    *,
    outside: np.ndarray | None,
    marks: Sequence[str],
) -> None:
    """Draw the window in its frame and the window alone, as frame_and_crop.png (Fig. 1 of the paper).

    Args:
        shape: of the frame: height, width.
        crop: uint8 (S, S).
        corner: column and row of the window's upper left pixel in the frame; negative where the frame was padded.
        outside: the frame, uint8 (H, W), shown around the window. None leaves that blank: an exported frame of a
            patient may show a name there.
    """
    left, top = corner
    figure, (whole, window) = new_figure(7.0, 4.2, columns=2)
    whole.imshow(np.full(shape, 64, np.uint8) if outside is None else outside, cmap="gray", vmin=0, vmax=255)
    whole.imshow(crop, cmap="gray", vmin=0, vmax=255, extent=(left, left + len(crop), top + len(crop), top))
    whole.add_patch(Rectangle((left, top), *crop.shape, fill=False, edgecolor=ORANGE, linewidth=2))
    whole.set(xlim=(min(left, 0), max(shape[1], left + len(crop))), ylim=(max(shape[0], top + len(crop)), min(top, 0)))
    blank = " (outside left blank)" if outside is None else ""
    whole.set_title(f"frame, {shape[1]} x {shape[0]} pixels{blank}", fontsize=10)
    window.imshow(crop, cmap="gray", vmin=0, vmax=255)
    window.set_title(f"crop, {crop.shape[1]} x {crop.shape[0]} pixels", fontsize=10)
    for axes in (whole, window):
        axes.set_axis_off()
    save(figure, folder / "frame_and_crop", marks=marks)


def draw_augmentation(folder: Path, table: pd.DataFrame, pixels: np.ndarray, *, marks: Sequence[str]) -> None:
    """Draw two training images of each class beside their copies, as augmentation.png, if there are copies.

    Args:
        table: split.csv.
        pixels: uint8 (N, H, W), in the order of `table`.
    """
    families = list(_families(table))
    if not families:
        return
    columns = max(len(rows) for _, rows in families)
    figure, axes = new_figure(1.9 * columns, 2.15 * len(families) + 0.3, rows=len(families), columns=columns)
    for place in axes:
        place.set_axis_off()
    for line, (name, rows) in enumerate(families):
        for column, row in enumerate(rows):
            place = axes[line * columns + column]
            place.imshow(pixels[row], cmap="gray", vmin=0, vmax=255)
            place.set_title(name if column == 0 else f"copy {column}", fontsize=9)
    save(figure, folder / "augmentation", marks=marks)


def _families(table: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a name, and the rows of an original and its copies."""
    copies = table[(table["origin"] != "") & (table["split"] == "train")]
    for label in (1, 0):
        for number, origin in enumerate(copies[copies["label"] == label]["origin"].unique()[:2], start=1):
            is_family = (table["image_id"] == origin) | (table["origin"] == origin)
            yield f"{CLASS_NAMES[label]} {number}", np.flatnonzero(is_family)

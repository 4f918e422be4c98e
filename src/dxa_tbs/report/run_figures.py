"""The figures of one run: learning curve, ROC curve, confusion matrix, augmentation examples.

`marks` are lines for the foot of a figure: what its reader must not overlook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn import metrics

CLASS_NAMES = ("Normal", "Degraded")
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#595959"  # of the Okabe-Ito palette: safe for colour-blind readers
SYNTHETIC = "synthetic phantom: shows the pipeline, says nothing of patients"
NOT_PRETRAINED = "random initialisation: nothing is pretrained"


def draw_history(folder: Path, history: pd.DataFrame, *, tested_epoch: int, marks: Sequence[str]) -> None:
    """Draw the losses and the validation AUC by epoch, the tested epoch marked, as learning_curve.png."""
    figure, (above, below) = _figure(6.0, 5.0, rows=2)
    above.plot(history["epoch"], history["train_loss"], color=GREY, label="train")
    above.plot(history["epoch"], history["val_loss"], color=BLUE, marker="o", markersize=3, label="validation")
    below.plot(history["epoch"], history["val_auc"], color=BLUE, marker="o", markersize=3)
    for axes in (above, below):
        axes.axvline(tested_epoch, color=ORANGE, linestyle="--", label=f"tested: epoch {tested_epoch}")
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    above.set_ylabel("loss (cross-entropy)")
    above.legend()
    below.set_ylabel("validation AUC")
    below.set_xlabel("epoch")
    _save(figure, folder / "learning_curve.png", marks=marks)


def draw_roc(folder: Path, labels: np.ndarray, scores: np.ndarray, *, threshold: float, marks: Sequence[str]) -> None:
    """Draw the test ROC curve with the operating point at `threshold`, as roc.png."""
    false_positive, sensitivity, _ = metrics.roc_curve(labels, scores)
    calls = scores >= threshold
    point = (calls[labels == 0].mean(), calls[labels == 1].mean())
    figure, (axes,) = _figure(5.0, 5.2)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="chance")
    axes.plot(false_positive, sensitivity, color=BLUE, label=f"AUC {metrics.roc_auc_score(labels, scores):.3f}")
    axes.plot(*point, "o", color=ORANGE, label=f"threshold {threshold:g}")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    axes.legend(loc="lower right")
    axes.set_title(f"Test, {int(labels.sum())} Degraded and {int((1 - labels).sum())} Normal")
    _save(figure, folder / "roc.png", marks=marks)


def draw_confusion(
    folder: Path, labels: np.ndarray, scores: np.ndarray, *, threshold: float, marks: Sequence[str]
) -> None:
    """Draw the test counts and their shares of each class at `threshold`, as confusion_matrix.png."""
    counts = metrics.confusion_matrix(labels, scores >= threshold, labels=[0, 1])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, (axes,) = _figure(4.6, 4.6)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{count}\n{100 * share:.0f} %", ha="center", va="center", color=colour, fontsize=14)
    axes.set_xticks([0, 1], CLASS_NAMES)
    axes.set_yticks([0, 1], CLASS_NAMES, rotation=90, va="center")
    axes.set(xlabel=f"called, threshold {threshold:g}", ylabel="true class")
    axes.set_title("Test images, shares of the true class")
    _save(figure, folder / "confusion_matrix.png", marks=marks)


def draw_augmentation(folder: Path, table: pd.DataFrame, pixels: np.ndarray, *, marks: Sequence[str]) -> None:
    """Draw two training images of each class beside their copies, as augmentation.png; nothing where there are none.

    Args:
        table: split.csv.
        pixels: uint8 (N, H, W), in its order.
    """
    families = list(_families(table))
    if not families:
        return
    columns = max(len(rows) for _, rows in families)
    figure, axes = _figure(1.9 * columns, 2.15 * len(families) + 0.3, rows=len(families), columns=columns)
    for place in axes:
        place.set_axis_off()
    for line, (name, rows) in enumerate(families):
        for column, row in enumerate(rows):
            place = axes[line * columns + column]
            place.imshow(pixels[row], cmap="gray", vmin=0, vmax=255)
            place.set_title(name if column == 0 else f"copy {column}", fontsize=9)
    _save(figure, folder / "augmentation.png", marks=marks)


def _families(table: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a name, and the rows of an original and its copies."""
    copies = table[(table["origin"] != "") & (table["split"] == "train")]
    for label in (1, 0):
        for number, origin in enumerate(copies[copies["label"] == label]["origin"].unique()[:2], start=1):
            is_family = (table["image_id"] == origin) | (table["origin"] == origin)
            yield f"{CLASS_NAMES[label]} {number}", np.flatnonzero(is_family)


def _figure(width: float, height: float, *, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context({"axes.grid": False, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def _save(figure: Figure, path: Path, *, marks: Sequence[str]) -> None:
    if marks:
        figure.supxlabel("\n".join(marks), fontsize=8, color=GREY)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Software": None})

"""The columns of a run's tables, and readers for those whose columns have changed between versions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dxa_tbs.runs.files import (
    ENVIRONMENT_JSON,
    ERRORS_CSV,
    HISTORY_CSV,
    LAYERS_CSV,
    MEASURES_CSV,
    METRICS_JSON,
    PREDICTIONS_CSV,
    SPLIT_CSV,
    TIMING_JSON,
    read_csv,
    read_json,
)

if TYPE_CHECKING:  # a refusal must not wait for it
    import pandas as pd

SPLIT_COLUMNS = ("image_id", "patient_id", "split", "label", "tbs", "origin", "sha256")  # then those of subgroups
HISTORY_COLUMNS = ("epoch", "train_loss", "watched_loss", "val_originals_loss", "val_originals_auc", "lr", "train_s",
                   "val_s")  # fmt: skip
COLUMNS = {
    SPLIT_CSV: SPLIT_COLUMNS,
    HISTORY_CSV: HISTORY_COLUMNS,
    PREDICTIONS_CSV: ("image_id", "split", "label", "score"),
    MEASURES_CSV: ("image_id", "grey", "variogram_slope", "vertebrae_grey", "background_grey", "background_slope"),
    LAYERS_CSV: ("layer", "kind", "output_shape", "parameters"),
    ERRORS_CSV: ("image_id", "kind", "place", "score", "file"),
}
COLUMNS_OF_0_1_0 = COLUMNS | {
    HISTORY_CSV: ("epoch", "train_loss", "val_loss", "val_auc", "lr", "train_s", "val_s"),
}


class History(NamedTuple):
    """The epochs of a training.

    Attributes:
        epochs: one row per epoch: epoch, train_loss, watched_loss, val_loss, val_auc (in other tasks their metric), lr,
            train_s, val_s.
        val_images: the images behind val_loss and val_auc: the validation originals, in version 0.1.0 with their
            augmented copies.
    """

    epochs: pd.DataFrame
    val_images: str


def read_split(run_dir: Path, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return split.csv: SPLIT_COLUMNS, then the columns of subgroups; or some of these columns."""
    return read_csv(run_dir / SPLIT_CSV, columns=columns)


def read_predictions(run_dir: Path) -> pd.DataFrame:
    """Return predictions.csv: the score of each validation and test image, copies included."""
    return read_csv(run_dir / PREDICTIONS_CSV)


def read_history(run_dir: Path) -> History:
    """Return history.csv under the same column names for every version.

    Version 0.1.0 wrote one validation loss, which is also the one that it watched.

    Raises:
        FileNotFoundError: the run is an evaluation, which has no history.
    """
    epochs = read_csv(run_dir / HISTORY_CSV)
    is_of_0_1_0 = "watched_loss" not in epochs
    if is_of_0_1_0:
        epochs.insert(2, "watched_loss", epochs["val_loss"])
    epochs = epochs.rename(columns=lambda name: name.replace("val_originals_", "val_"))
    return History(epochs, "validation, augmented copies included" if is_of_0_1_0 else "validation")


def read_measures(run_dir: Path) -> pd.DataFrame:
    """Return measures.csv: image_id and the measures of each original; a measure that is undefined is NaN."""
    import pandas as pd

    table = read_csv(run_dir / MEASURES_CSV)
    numbers = table.columns.drop("image_id")
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in numbers})


def read_layers(run_dir: Path) -> pd.DataFrame:
    """Return layers.csv: the name, kind, output shape and number of parameters of each layer."""
    return read_csv(run_dir / LAYERS_CSV)


def read_errors(run_dir: Path) -> pd.DataFrame:
    """Return errors.csv: the wrongly classified test images of which there are thumbnails."""
    return read_csv(run_dir / ERRORS_CSV)


def read_metrics(run_dir: Path) -> dict[str, Any]:
    """Return metrics.json, which only a finished run has."""
    return read_json(run_dir / METRICS_JSON)


def read_environment(run_dir: Path) -> dict[str, Any]:
    """Return environment.json; empty if the run has none."""
    return _read_if_there(run_dir / ENVIRONMENT_JSON)


def read_timing(run_dir: Path) -> dict[str, Any]:
    """Return timing.json; empty if the run has none, as an evaluation."""
    return _read_if_there(run_dir / TIMING_JSON)


def read_epoch_times(run_dir: Path) -> list[float]:
    """Return the seconds of each epoch with its validation, without pandas: a plan is shown at once.

    Raises:
        FileNotFoundError, ValueError, LookupError, csv.Error: there is no history, or it is damaged.
    """
    with (run_dir / HISTORY_CSV).open(encoding="utf-8", newline="") as file:
        return [float(row["train_s"]) + float(row["val_s"]) for row in csv.DictReader(file)]


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}

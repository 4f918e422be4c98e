"""history.csv of this version and of 0.1.0, which validated on originals and augmented copies together."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dxa_tbs.runs.files import read_csv

ORIGINALS = "validation"
WITH_COPIES = "validation, augmented copies included"


def read_history(run_dir: Path) -> tuple[pd.DataFrame, str]:
    """Return epoch, train_loss, val_loss and val_auc, and the images behind the last two: ORIGINALS or WITH_COPIES."""
    history = read_csv(run_dir / "history.csv")
    whose = WITH_COPIES if "val_loss" in history else ORIGINALS
    names = {"val_originals_loss": "val_loss", "val_originals_auc": "val_auc"}
    return history.rename(columns=names)[["epoch", "train_loss", "val_loss", "val_auc"]], whose

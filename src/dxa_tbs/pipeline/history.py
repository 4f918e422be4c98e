"""What a run keeps of each epoch: a line of history.csv, of the log and of its tracker."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dxa_tbs.progress import OnProgress, Progress
from dxa_tbs.runs.files import HISTORY_CSV, write_csv
from dxa_tbs.tracking.tracker import Tracker

log = logging.getLogger("dxa_tbs.experiment")


def keeping_history(run_dir: Path, epochs: int, tracker: Tracker, on_progress: OnProgress) -> OnProgress:
    """Return a callback that also writes history.csv, logs a line and tells the tracker after each epoch."""
    history: list[Mapping[str, float]] = []
    level = logging.DEBUG if sys.stderr.isatty() else logging.INFO  # a terminal has a bar; train.log has both levels

    def keep(progress: Progress) -> None:
        if epoch := progress.epoch:
            history.append(epoch)
            write_csv(run_dir / HISTORY_CSV, pd.DataFrame(history))
            tracker.log_epoch(epoch)
            figures = {key: value for key, value in epoch.items() if "loss" in key or "originals" in key}
            shown = ", ".join(f"{key} {value:.4f}" for key, value in figures.items())
            times = epoch["train_s"], epoch["val_s"]
            log.log(level, "epoch %d/%d: %s, %.1f s + %.1f s", epoch["epoch"], epochs, shown, *times)
        on_progress(progress)

    return keep

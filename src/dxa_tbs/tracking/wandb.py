"""A run of Weights & Biases, kept in a local folder or sent to its server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dxa_tbs.tracking.tracker import RunStart

os.environ["WANDB_ERROR_REPORTING"] = "false"

import wandb

INIT_S = 30.0  # less than the run waits
UNKNOWN = "-"


def open_wandb(start: RunStart, *, folder: str, mode: str) -> WandbTracker:
    """Start a run in the project that is named after the study; its files are in <folder>/wandb."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        silent=True,
        console="off",
        symlink=False,
        init_timeout=INIT_S,
        # Nothing about the machine, its user or its code:
        host=UNKNOWN,
        username=UNKNOWN,
        email=UNKNOWN,
        program=UNKNOWN,
        save_code=False,
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    config = {"run_folder": start.run, **start.identity, **start.settings}
    run = wandb.init(dir=folder, project=start.study, name=start.run, config=config, mode=mode, settings=settings)
    return WandbTracker(run)


class WandbTracker:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log_epoch(self, epoch: Mapping[str, float]) -> None:
        self._run.log({name: value for name, value in epoch.items() if name != "epoch"}, step=int(epoch["epoch"]))

    def finish(self, figures: Mapping[str, float]) -> None:
        self._run.summary.update(dict(figures))
        self._run.finish(exit_code=0)

    def fail(self) -> None:
        self._run.finish(exit_code=1)

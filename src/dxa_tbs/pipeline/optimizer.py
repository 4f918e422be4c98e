"""The settings of the configured optimizer, and the schedule of its learning rate."""

from __future__ import annotations

from typing import Any

import torch

from dxa_tbs.config.kinds import function_of, own_settings
from dxa_tbs.config.schema import Config
from dxa_tbs.training.schedules import Schedule


def optimizer_settings(config: Config) -> dict[str, Any]:
    """Return the keyword arguments of the configured optimizer."""
    return {key: value for key, value in vars(config.optimizer).items() if key != "name"}


def build_schedule(optimizer: torch.optim.Optimizer, config: Config) -> Schedule:
    """Return the configured schedule of an optimizer."""
    schedule: Schedule = function_of("schedule", config.schedule)(
        optimizer, epochs=config.trainer.epochs, **own_settings(config.schedule)
    )
    return schedule

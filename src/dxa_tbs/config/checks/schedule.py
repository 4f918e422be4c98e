"""Checks of the section schedule."""

from __future__ import annotations

from collections.abc import Iterator

from dxa_tbs.config.checks.ranges import outside
from dxa_tbs.config.schema import Config, CosineConfig, PlateauConfig


def schedule_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of the schedule that cannot be used."""
    schedule, trainer = config.schedule, config.trainer
    if isinstance(schedule, CosineConfig | PlateauConfig):
        yield from outside("schedule.warmup_epochs", schedule.warmup_epochs, 0)
        if schedule.warmup_epochs >= trainer.epochs:
            yield (
                f"schedule.warmup_epochs={schedule.warmup_epochs}: must be below trainer.epochs={trainer.epochs}, else "
                "the learning rate only rises"
            )
    if isinstance(schedule, PlateauConfig):
        if not 0 < schedule.factor < 1:
            yield f"schedule.factor={schedule.factor}: must be above 0 and below 1"
        yield from outside("schedule.patience", schedule.patience, 1)
        if trainer.patience is not None and schedule.patience >= trainer.patience:
            yield (
                f"schedule.patience={schedule.patience}: must be below trainer.patience={trainer.patience}, else "
                "training stops before the learning rate is lowered"
            )

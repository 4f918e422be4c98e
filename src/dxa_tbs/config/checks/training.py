"""Checks of the sections trainer, optimizer and evaluation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dxa_tbs.config.checks.ranges import MAX_SEED, outside
from dxa_tbs.config.schema import Config

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def training_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of training and evaluation that cannot be used."""
    trainer, optimizer = config.trainer, config.optimizer
    yield from outside("seed", config.seed, 0, MAX_SEED)
    yield from outside("trainer.epochs", trainer.epochs, 1)
    yield from outside("trainer.batch_size", trainer.batch_size, 1)
    if trainer.micro_batch_size is not None:
        yield from outside("trainer.micro_batch_size", trainer.micro_batch_size, 1, trainer.batch_size)
    if trainer.patience is not None:
        yield from outside("trainer.patience", trainer.patience, 1)
    if trainer.ema_decay is not None and not 0 < trainer.ema_decay < 1:
        yield f"trainer.ema_decay={trainer.ema_decay}: must be above 0 and below 1, or null for no average"
    if not optimizer.lr > 0:
        yield f"optimizer.lr={optimizer.lr}: must be above 0"
    yield from outside("optimizer.weight_decay", getattr(optimizer, "weight_decay", 0.0), 0)
    momentum = getattr(optimizer, "momentum", 0.0)
    if not 0 <= momentum < 1:
        yield f"optimizer.momentum={momentum}: must be at least 0 and below 1"
    if not DEVICE.fullmatch(trainer.device):
        yield f"trainer.device={trainer.device}: is not a device: use auto, cpu, cuda or cuda:<number>"
    if not 0 < config.evaluation.threshold < 1:
        yield f"evaluation.threshold={config.evaluation.threshold}: must be between 0 and 1"
    yield from outside("evaluation.shown_errors", config.evaluation.shown_errors, 0)

"""The sections task, optimizer and trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from dxa_tbs.config.choices import Precision, TestEpoch, Watched


@dataclass
class OptimizerConfig:
    name: str = MISSING
    lr: float = MISSING


@dataclass
class SgdConfig(OptimizerConfig):
    weight_decay: float = MISSING
    momentum: float = MISSING


@dataclass
class AdamWConfig(OptimizerConfig):
    weight_decay: float = MISSING


@dataclass
class CustomOptimizerConfig(OptimizerConfig):
    factory: str = MISSING
    settings: dict[str, Any] = MISSING


@dataclass
class TaskConfig:
    name: str = MISSING


@dataclass
class BinaryTaskConfig(TaskConfig):
    pass


@dataclass
class TrainerConfig:
    epochs: int = MISSING
    patience: int | None = MISSING
    batch_size: int = MISSING
    micro_batch_size: int | None = MISSING
    test_epoch: TestEpoch = MISSING
    watched: Watched = MISSING
    device: str = MISSING
    precision: Precision = MISSING
    ema_decay: float | None = MISSING

"""The section schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING


@dataclass
class ScheduleConfig:
    name: str = MISSING


@dataclass
class ConstantConfig(ScheduleConfig):
    pass


@dataclass
class CosineConfig(ScheduleConfig):
    warmup_epochs: int = MISSING


@dataclass
class PlateauConfig(ScheduleConfig):
    warmup_epochs: int = MISSING
    factor: float = MISSING
    patience: int = MISSING


@dataclass
class CustomScheduleConfig(ScheduleConfig):
    factory: str = MISSING
    settings: dict[str, Any] = MISSING

"""The section augmentation, and the settings of each operation.

The operations of an augmentation are a list, because their order changes the result. An entry may leave out settings of
its operation; those get the values given here, and config.yaml holds them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from dxa_tbs.config.choices import Interpolation, When


@dataclass
class AugmentationConfig:
    name: str = MISSING
    when: When = MISSING
    copies_per_normal: float = MISSING
    copies_per_degraded: float = MISSING
    operations: list[Any] = MISSING


@dataclass
class OperationConfig:
    name: str = MISSING


@dataclass
class FlipConfig(OperationConfig):
    probability: float = 0.5


@dataclass
class RotateConfig(OperationConfig):
    max_deg: float = 10.0
    interpolation: Interpolation = Interpolation.bicubic


@dataclass
class ShiftConfig(OperationConfig):
    max_px: int = 10


@dataclass
class ZoomConfig(OperationConfig):
    max_change: float = 0.1
    interpolation: Interpolation = Interpolation.bicubic


@dataclass
class BrightnessConfig(OperationConfig):
    min_change: float = 0.1
    max_change: float = 0.4


@dataclass
class ContrastConfig(OperationConfig):
    max_change: float = 0.2


@dataclass
class NoiseConfig(OperationConfig):
    max_sd: float = 4.0


@dataclass
class BlurConfig(OperationConfig):
    max_sigma_px: float = 0.5

"""The section augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from dxa_tbs.config.choices import Interpolation


@dataclass
class AugmentationConfig:
    name: str = MISSING
    copies_per_normal: float = MISSING
    copies_per_degraded: float = MISSING
    flip_probability: float = MISSING
    max_rotation_deg: float = MISSING
    min_brightness_change: float = MISSING
    max_brightness_change: float = MISSING
    interpolation: Interpolation = MISSING

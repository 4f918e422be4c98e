"""The section loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING


@dataclass
class LossConfig:
    name: str = MISSING


@dataclass
class CrossEntropyConfig(LossConfig):
    pass


@dataclass
class WeightedConfig(LossConfig):
    class_weights: Any = MISSING  # balanced, or a list of numbers

    def __post_init__(self) -> None:
        self.class_weights = _as_floats(self.class_weights)


@dataclass
class FocalConfig(LossConfig):
    gamma: float = MISSING
    class_weights: Any = MISSING  # null, balanced, or a list of numbers

    def __post_init__(self) -> None:
        self.class_weights = _as_floats(self.class_weights)


@dataclass
class CustomLossConfig(LossConfig):
    factory: str = MISSING
    settings: dict[str, Any] = MISSING


def _as_floats(value: Any) -> Any:
    """Return whole numbers in a list as floats, so that [1, 3] and [1.0, 3.0] are one setting; else the value."""
    if not isinstance(value, list):
        return value
    return [float(number) if type(number) is int else number for number in value]

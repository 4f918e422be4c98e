"""An operation from outside the package: it inverts a share of the images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dxa_tbs.config.kinds import Kind, register_kind
from dxa_tbs.config.schema import OperationConfig


@dataclass
class InvertConfig(OperationConfig):
    probability: float = 0.5


def invert(image: np.ndarray, rng: np.random.Generator, *, probability: float) -> np.ndarray:
    return 255 - image if rng.random() < probability else image


register_kind("operation", "invert", Kind(InvertConfig, "toys.operation:invert"))

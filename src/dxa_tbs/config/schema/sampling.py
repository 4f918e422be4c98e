"""The section sampling."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class SamplingConfig:
    name: str = MISSING


@dataclass
class ShuffleConfig(SamplingConfig):
    pass


@dataclass
class BalancedSamplingConfig(SamplingConfig):
    pass

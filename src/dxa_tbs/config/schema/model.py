"""The sections model and approach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from dxa_tbs.config.choices import Architecture, FrozenBatchNorm


@dataclass
class ModelConfig:
    name: str = MISSING
    weights: str = MISSING
    input_mean: list[float] = MISSING
    input_std: list[float] = MISSING


@dataclass
class AdhocConfig(ModelConfig):
    filters: list[int] = MISSING
    fc_widths: list[int] = MISSING


@dataclass
class PretrainedConfig(ModelConfig):
    architecture: Architecture = MISSING
    dropout: float = MISSING
    backbone_dropout: float = MISSING


@dataclass
class TorchvisionConfig(ModelConfig):
    architecture: str = MISSING
    dropout: float = MISSING


@dataclass
class TimmConfig(ModelConfig):
    architecture: str = MISSING
    dropout: float = MISSING


@dataclass
class CustomConfig(ModelConfig):
    factory: str = MISSING
    settings: dict[str, Any] = MISSING


@dataclass
class ApproachConfig:
    name: str = MISSING


@dataclass
class WholeNetworkConfig(ApproachConfig):
    """All weights are trained: approaches adhoc and full."""


@dataclass
class HeadConfig(ApproachConfig):
    frozen_bn: FrozenBatchNorm = MISSING
    cache_features: bool = MISSING

"""A network of one convolution, whose width is a setting, and average pooling."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING
from torch import nn

from dxa_tbs.config.kinds import Kind, register_kind
from dxa_tbs.config.schema import ModelConfig


@dataclass
class TinyConfig(ModelConfig):
    width: int = MISSING


def build_tiny(*, width: int, num_outputs: int, in_channels: int, size_px: int) -> nn.Module:
    pooled = nn.Conv2d(in_channels, width, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*pooled, nn.Linear(width, num_outputs))


register_kind("model", "tiny", Kind(TinyConfig, "toys.network:build_tiny"))

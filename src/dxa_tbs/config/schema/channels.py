"""The section channels."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class ChannelsConfig:
    name: str = MISSING


@dataclass
class GreyChannelsConfig(ChannelsConfig):
    """Every channel is the grey level."""


@dataclass
class TextureChannelsConfig(ChannelsConfig):
    window_px: int = MISSING

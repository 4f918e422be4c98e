"""The section tracker."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from dxa_tbs.config.choices import WandbMode


@dataclass
class TrackerConfig:
    name: str = MISSING


@dataclass
class NoTrackerConfig(TrackerConfig):
    pass


@dataclass
class TensorBoardConfig(TrackerConfig):
    folder: str = MISSING


@dataclass
class MlflowConfig(TrackerConfig):
    store: str = MISSING


@dataclass
class WandbConfig(TrackerConfig):
    folder: str = MISSING
    mode: WandbMode = MISSING

"""The squared error, capped."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from omegaconf import MISSING

from dxa_tbs.config.kinds import Kind, register_kind
from dxa_tbs.config.schema import LossConfig


@dataclass
class CappedConfig(LossConfig):
    cap: float = MISSING


def capped(outputs_BK: torch.Tensor, targets_B: torch.Tensor, *, cap: float) -> torch.Tensor:
    return (outputs_BK[:, 0] - targets_B).square().clamp(max=cap).mean()


register_kind("loss", "capped", Kind(CappedConfig, "toys.loss:capped"))

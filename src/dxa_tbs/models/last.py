"""Last layers with fp32 outputs, whatever the precision around them: scores of bf16 would be full of ties."""

from __future__ import annotations

import torch
from torch import nn


class Linear(nn.Linear):
    """nn.Linear, computed in fp32."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.to(self.weight.dtype))


class Conv2d(nn.Conv2d):
    """nn.Conv2d with outputs in fp32, for what averages them."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs).to(self.weight.dtype)

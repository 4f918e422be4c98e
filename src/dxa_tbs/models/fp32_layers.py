"""Last layers whose outputs are fp32 even under autocast: scores in bf16 would have many ties."""

from __future__ import annotations

import torch
from torch import nn


class Linear(nn.Linear):
    """nn.Linear computed in fp32."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.to(self.weight.dtype))


class Conv2d(nn.Conv2d):
    """nn.Conv2d with fp32 outputs, so that the pooling after it averages in fp32."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs).to(self.weight.dtype)

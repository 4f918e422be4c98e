"""The last layers of networks: what approach head trains."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from dxa_tbs.models import fp32_layers


class Dropout(nn.Dropout):
    """nn.Dropout, five times as fast on a CPU, where drawing random numbers takes most of the time of a head.

    Each value is decided by 16 random bits, so that one 64-bit draw serves four values. The effective probability
    differs from `p` by at most 1 / 131072, and the kept values are scaled by the effective one.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or inputs.device.type != "cpu":
            return super().forward(inputs)
        draws = torch.empty((inputs.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: inputs.numel()].as_strided(inputs.shape, torch.empty_like(inputs).stride())
        num_dropped = round(self.p * 65536)
        kept = (bits >= num_dropped - 32768).view(torch.uint8)  # torch converts uint8 to float faster than bool
        return inputs * kept * (65536 / (65536 - num_dropped))


def with_head(backbone: nn.Module, head: nn.Module, *, described: str) -> nn.Sequential:
    """Return a network of a backbone from images to features, and a head from features to outputs (B, K).

    Args:
        described: library, version and architecture. It becomes part of the backbone's text, and so of the key of its
            cached features: two networks can have the same layers and compute something else.
    """
    setattr(backbone, "extra_repr", lambda: described)  # noqa: B010 - of this one, not of its class
    return nn.Sequential(OrderedDict(backbone=backbone, head=head))


def linear_head(features: int, num_outputs: int, *, dropout: float, bias: bool = True) -> nn.Sequential:
    """Return dropout and a linear layer, from (B, features) to (B, num_outputs)."""
    return nn.Sequential(Dropout(dropout), fp32_layers.Linear(features, num_outputs, bias=bias))


def squeezenet_head(channels: int, num_outputs: int, *, dropout: float) -> nn.Sequential:
    """Return the last layers of a SqueezeNet, from maps (B, channels, H, W) to (B, num_outputs)."""
    convolution = nonnegative_convolution(channels, num_outputs)
    return nn.Sequential(Dropout(dropout), convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def nonnegative_convolution(in_channels: int, num_outputs: int) -> nn.Conv2d:
    """Return SqueezeNet's last layer, initialised with nonnegative weights.

    A ReLU follows this layer, and its inputs are nonnegative. With weights of both signs, as torchvision initialises
    them, an output can be negative everywhere. It then gets no gradient, and the network answers 0.5 forever.
    """
    layer = fp32_layers.Conv2d(in_channels, num_outputs, kernel_size=1)
    with torch.no_grad():
        layer.weight.normal_(0.0, 0.01).abs_()
        assert layer.bias is not None
        layer.bias.zero_()
    return layer

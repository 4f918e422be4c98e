"""The ad hoc networks of the paper (Fig. 3, Table II): convolutional blocks, then fully connected layers.

The paper leaves several details open. The four parameter counts of Table II determine them: three input channels, no
padding, convolutions with bias, BatchNorm, one output.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from dxa_tbs.models import fp32_layers


def build_adhoc(
    filters: Sequence[int], fc_widths: Sequence[int], *, num_outputs: int = 1, in_channels: int = 3, size_px: int = 224
) -> nn.Sequential:
    """Return a network from images (B, C, S, S) to outputs (B, K), initialised by torch's generator.

    Args:
        filters: filters of each block (3 x 3 convolution without padding, BatchNorm, ReLU, 2 x 2 max pooling).
        fc_widths: widths of the fully connected layers with ReLU before the last layer.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, side_px = in_channels, size_px
    for number, width in enumerate(filters, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, width, kernel_size=3)
        layers[f"bn{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels, side_px = width, (side_px - 2) // 2
    assert side_px >= 1, "the configuration is checked for this"
    layers["flatten"] = nn.Flatten()
    features = channels * side_px**2
    for number, width in enumerate(fc_widths, start=1):
        layers[f"fc{number}"] = nn.Linear(features, width)
        layers[f"fc_relu{number}"] = nn.ReLU(inplace=True)
        features = width
    layers["logit"] = fp32_layers.Linear(features, num_outputs)
    return nn.Sequential(layers)

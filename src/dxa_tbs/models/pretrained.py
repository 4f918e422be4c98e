"""The networks of approaches full and head: torchvision's ImageNet networks, two outputs in the paper.

Dropout: the paper puts 0.4 before the reshaped layer. Where torchvision has its own dropout in the same place (VGG-16,
SqueezeNet), the paper's replaces it, because two in a row would drop 70 %. Torchvision's other dropouts (AlexNet's two,
VGG-16's first) stay where they are, at `backbone_dropout`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torchvision import models

from dxa_tbs.config.choices import Architecture
from dxa_tbs.errors import Refusal
from dxa_tbs.models import fp32_layers

IN_CHANNELS = 3
BUILDERS: dict[Architecture, Callable[[], nn.Module]] = {
    Architecture.alexnet: models.alexnet,
    Architecture.resnet18: models.resnet18,
    Architecture.vgg16: models.vgg16,
    Architecture.densenet121: models.densenet121,
    Architecture.squeezenet: models.squeezenet1_0,
}


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


def build_pretrained(
    architecture: Architecture,
    *,
    dropout: float,
    backbone_dropout: float,
    num_outputs: int = 2,
    in_channels: int = 3,
    size_px: int = 224,
) -> nn.Module:
    """Return a randomly initialised network from images (B, 3, H, W) to outputs (B, K).

    Parameters have torchvision's names, except those of the reshaped layer (`last_layer`).

    Args:
        dropout: probability before the reshaped layer.
        backbone_dropout: probability of torchvision's other dropouts.
        in_channels, size_px: of the images. The network takes three channels and images of almost any size.

    Raises:
        Refusal: the images do not have three channels.
    """
    if in_channels != IN_CHANNELS:
        raise Refusal(f"model.input_mean has {in_channels} values: {architecture.value} takes {IN_CHANNELS} channels")
    model: Any = BUILDERS[architecture]()
    if architecture in (Architecture.alexnet, Architecture.vgg16):
        for position, layer in enumerate(model.classifier):
            if isinstance(layer, nn.Dropout):
                model.classifier[position] = Dropout(backbone_dropout)
    if architecture is Architecture.squeezenet:
        model.classifier[0] = Dropout(dropout)
        model.classifier[1] = _nonnegative_convolution(model.classifier[1].in_channels, num_outputs)
    elif architecture is Architecture.vgg16:
        model.classifier[5] = Dropout(dropout)
        model.classifier[6] = fp32_layers.Linear(model.classifier[6].in_features, num_outputs)
    elif architecture is Architecture.alexnet:
        model.classifier[6] = nn.Sequential(
            Dropout(dropout), fp32_layers.Linear(model.classifier[6].in_features, num_outputs)
        )
    elif architecture is Architecture.resnet18:
        model.fc = nn.Sequential(Dropout(dropout), fp32_layers.Linear(model.fc.in_features, num_outputs))
    else:
        model.classifier = nn.Sequential(
            Dropout(dropout), fp32_layers.Linear(model.classifier.in_features, num_outputs)
        )
    return cast(nn.Module, model)


def as_chain(model: nn.Module) -> nn.Sequential:
    """Return the network as a flat chain of its own layers (not copies), which computes the same function."""
    layers = dict(model.named_children())
    classifier = cast(nn.Sequential, layers.pop("classifier", None) or layers.pop("fc"))
    chain = list(layers.values())
    if isinstance(model, models.DenseNet):
        chain += [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)]  # functions in torchvision's forward
    is_flattened_last = isinstance(model, models.SqueezeNet)  # its last layer is a convolution
    tail = [layer for part in classifier for layer in (part if isinstance(part, nn.Sequential) else [part])]
    return nn.Sequential(*chain, *([*tail, nn.Flatten()] if is_flattened_last else [nn.Flatten(), *tail]))


def last_layer(model: nn.Module) -> nn.Module:
    """Return the reshaped layer, the only one trained in approach head."""
    return [layer for layer in as_chain(model) if next(layer.parameters(), None) is not None][-1]


def freeze_backbone(model: nn.Module) -> None:
    """Freeze all parameters except those of the reshaped layer."""
    model.requires_grad_(False)
    last_layer(model).requires_grad_(True)


def cut_at_dropout(model: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the two parts of a network with a frozen backbone: one with the same outputs in every epoch, and the rest.

    The cut is before the first active dropout, or before the reshaped layer if that is earlier.
    """
    chain, final = as_chain(model), last_layer(model)
    for position, layer in enumerate(chain):
        if layer is final or (isinstance(layer, nn.Dropout) and layer.p > 0):
            return chain[:position], chain[position:]
    raise AssertionError("a network has a last layer")


def _nonnegative_convolution(in_channels: int, num_outputs: int) -> nn.Conv2d:
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

"""The ImageNet networks of approaches 1 and 2: torchvision's, their last layer reshaped (to two outputs in the paper).

Dropout. The paper puts 0.4 before the reshaped layer. Where torchvision has a dropout of its own in that very place
(VGG-16, SqueezeNet) the paper's replaces it: two in a row would drop 70 %. Its dropouts further up (AlexNet's two,
VGG-16's first) stay as ImageNet training had them, at `backbone_dropout`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torchvision import models

from dxa_tbs.config.choices import Architecture
from dxa_tbs.models import last

BUILDERS: dict[Architecture, Callable[[], nn.Module]] = {
    Architecture.alexnet: models.alexnet,
    Architecture.resnet18: models.resnet18,
    Architecture.vgg16: models.vgg16,
    Architecture.densenet121: models.densenet121,
    Architecture.squeezenet: models.squeezenet1_0,
}


class Dropout(nn.Dropout):
    """nn.Dropout; on the CPU five times as fast, where drawing random numbers takes longer than all the rest of a head.

    16 random bits decide on each value, four values to a draw: `p` is met to within 1 / 131072, and what is left is
    scaled by what was met.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0 or inputs.device.type != "cpu":
            return super().forward(inputs)
        draws = torch.empty((inputs.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: inputs.numel()].as_strided(inputs.shape, torch.empty_like(inputs).stride())
        num_dropped = round(self.p * 65536)
        kept = (bits >= num_dropped - 32768).view(torch.uint8)  # bytes are turned into floats faster than truth values
        return inputs * kept * (65536 / (65536 - num_dropped))


def build_pretrained(
    architecture: Architecture, *, dropout: float, backbone_dropout: float, num_outputs: int = 2
) -> nn.Module:
    """Return a network from images (B, 3, H, W) to outputs (B, K), randomly initialised.

    The names of its parameters are torchvision's, but for those of the reshaped layer (`last_layer`).
    """
    model: Any = BUILDERS[architecture]()
    if architecture in (Architecture.alexnet, Architecture.vgg16):
        for position, layer in enumerate(model.classifier):
            if isinstance(layer, nn.Dropout):
                model.classifier[position] = Dropout(backbone_dropout)
    if architecture is Architecture.squeezenet:
        model.classifier[0] = Dropout(dropout)
        model.classifier[1] = _alive_convolution(model.classifier[1].in_channels, num_outputs)
    elif architecture is Architecture.vgg16:
        model.classifier[5] = Dropout(dropout)
        model.classifier[6] = last.Linear(model.classifier[6].in_features, num_outputs)
    elif architecture is Architecture.alexnet:
        model.classifier[6] = nn.Sequential(Dropout(dropout), last.Linear(model.classifier[6].in_features, num_outputs))
    elif architecture is Architecture.resnet18:
        model.fc = nn.Sequential(Dropout(dropout), last.Linear(model.fc.in_features, num_outputs))
    else:
        model.classifier = nn.Sequential(Dropout(dropout), last.Linear(model.classifier.in_features, num_outputs))
    return cast(nn.Module, model)


def as_chain(model: nn.Module) -> nn.Sequential:
    """Return the network as one chain of its own layers: the same function, the same parameters, not a copy."""
    layers = dict(model.named_children())
    classifier = cast(nn.Sequential, layers.pop("classifier", None) or layers.pop("fc"))
    chain = list(layers.values())
    if isinstance(model, models.DenseNet):
        chain += [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)]  # functions in torchvision's forward
    is_flat_last = isinstance(model, models.SqueezeNet)
    tail = [layer for part in classifier for layer in (part if isinstance(part, nn.Sequential) else [part])]
    return nn.Sequential(*chain, *(tail if is_flat_last else [nn.Flatten(), *tail]), *([nn.Flatten()] * is_flat_last))


def last_layer(model: nn.Module) -> nn.Module:
    """Return the reshaped layer, the only one that trains in approach head."""
    return [layer for layer in as_chain(model) if next(layer.parameters(), None) is not None][-1]


def freeze_backbone(model: nn.Module) -> None:
    """Leave nothing to training but the reshaped layer."""
    model.requires_grad_(False)
    last_layer(model).requires_grad_(True)


def cut_at_dropout(model: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the part whose output is the same in every epoch, and the rest, of a network with a frozen backbone.

    The cut is before the first dropout that drops anything, at the latest before the reshaped layer.
    """
    chain, final = as_chain(model), last_layer(model)
    for position, layer in enumerate(chain):
        if layer is final or (isinstance(layer, nn.Dropout) and layer.p > 0):
            return chain[:position], chain[position:]
    raise AssertionError("a network has a last layer")


def _alive_convolution(in_channels: int, num_outputs: int) -> nn.Conv2d:
    """Return SqueezeNet's last layer, which a ReLU follows: its inputs are never negative, so neither are its weights.

    With torchvision's initialisation, of both signs, an output is at times negative everywhere: it gets no gradient,
    and the network answers 0.5 for good.
    """
    layer = last.Conv2d(in_channels, num_outputs, kernel_size=1)
    with torch.no_grad():
        layer.weight.normal_(0.0, 0.01).abs_()
        assert layer.bias is not None
        layer.bias.zero_()
    return layer

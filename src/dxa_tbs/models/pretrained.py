"""The paper's networks of approaches full and head: torchvision's ImageNet networks, two outputs in the paper.

Dropout: the paper puts 0.4 before the reshaped layer. Where torchvision has its own dropout in the same place (VGG-16,
SqueezeNet), the paper's replaces it, because two in a row would drop 70 %. Torchvision's other dropouts (AlexNet's two,
VGG-16's first) stay where they are, at `backbone_dropout`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn
from torchvision import models

from dxa_tbs.config.choices import Architecture
from dxa_tbs.errors import Refusal
from dxa_tbs.models import fp32_layers
from dxa_tbs.models.heads import Dropout, nonnegative_convolution

IN_CHANNELS = 3
BUILDERS: dict[Architecture, Callable[[], nn.Module]] = {
    Architecture.alexnet: models.alexnet,
    Architecture.resnet18: models.resnet18,
    Architecture.vgg16: models.vgg16,
    Architecture.densenet121: models.densenet121,
    Architecture.squeezenet: models.squeezenet1_0,
}


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

    Parameters have torchvision's names, except those of the reshaped layer (`chain.head_of`).

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
        model.classifier[1] = nonnegative_convolution(model.classifier[1].in_channels, num_outputs)
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

"""Where a network is cut for approach head: the part that is frozen, and the part that is trained.

A network is one of the paper's (`pretrained.build_pretrained`), or an `nn.Sequential` of two children that are called
backbone and head.
"""

from __future__ import annotations

from typing import cast

from torch import nn
from torchvision import models

from dxa_tbs.errors import Refusal


def has_backbone_and_head(model: nn.Module) -> bool:
    """Return whether a network is a plain `nn.Sequential` of two children called backbone and head."""
    return type(model) is nn.Sequential and [name for name, _ in model.named_children()] == ["backbone", "head"]


def as_chain(model: nn.Module) -> nn.Sequential:
    """Return the network as a flat chain of its own layers (not copies), which computes the same function."""
    layers = dict(model.named_children())
    if has_backbone_and_head(model):
        head = layers["head"]
        return nn.Sequential(layers["backbone"], *(head if type(head) is nn.Sequential else [head]))
    classifier = cast(nn.Sequential, layers.pop("classifier", None) or layers.pop("fc"))
    chain = list(layers.values())
    if isinstance(model, models.DenseNet):
        chain += [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)]  # functions in torchvision's forward
    is_flattened_last = isinstance(model, models.SqueezeNet)  # its last layer is a convolution
    tail = [layer for part in classifier for layer in (part if isinstance(part, nn.Sequential) else [part])]
    return nn.Sequential(*chain, *([*tail, nn.Flatten()] if is_flattened_last else [nn.Flatten(), *tail]))


def head_of(model: nn.Module) -> nn.Module:
    """Return the part that is trained in approach head: the head, or the reshaped layer of the paper's networks."""
    if has_backbone_and_head(model):
        return model.get_submodule("head")
    return [layer for layer in as_chain(model) if next(layer.parameters(), None) is not None][-1]


def freeze_backbone(model: nn.Module) -> None:
    """Freeze all parameters except those of the head.

    Raises:
        Refusal: backbone and head share parameters.
    """
    head = head_of(model)
    model.requires_grad_(False)
    head.requires_grad_(True)
    if has_backbone_and_head(model) and any(weight.requires_grad for weight in next(model.children()).parameters()):
        raise Refusal("approach=head: the backbone of this network shares weights with its head: use approach=full")


def cut_at_dropout(model: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the two parts of a network with a frozen backbone: one with the same outputs in every epoch, and the rest.

    The cut is before the first active dropout, or before the head if that is earlier. What is within a backbone counts
    as one layer.
    """
    chain, head = as_chain(model), set(head_of(model).modules())
    for position, layer in enumerate(chain):
        if layer in head or (isinstance(layer, nn.Dropout) and layer.p > 0):
            return chain[:position], chain[position:]
    raise AssertionError("a network has a head")

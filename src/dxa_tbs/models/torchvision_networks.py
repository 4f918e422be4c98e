"""Any classification network of torchvision, its last layer reshaped.

Dropout: the setting replaces torchvision's own dropout directly before the last layer. Torchvision's other dropouts,
such as the stochastic depth of EfficientNet, stay as they are.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torchvision
from torch import nn
from torchvision import models

from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.models.downloads import find_file
from dxa_tbs.models.heads import linear_head, squeezenet_head, with_head
from dxa_tbs.models.names import did_you_mean
from dxa_tbs.models.weights import load_backbone, require_normalisation
from dxa_tbs.progress import OnProgress, ignore_progress

IN_CHANNELS = 3
NAME_OF_ENTRY = "[A-Z0-9_]+"  # never a path, whose content is part of a run's identity
OF_INCEPTION = {"aux_logits": False, "init_weights": True, "transform_input": True}  # as its ImageNet weights need it
ARGUMENTS = {"googlenet": OF_INCEPTION, "inception_v3": OF_INCEPTION}


def build_torchvision(
    *, architecture: str, dropout: float, num_outputs: int, in_channels: int, size_px: int
) -> nn.Sequential:
    """Return a randomly initialised network from images (B, 3, S, S) to outputs (B, K): a backbone and a head.

    The parameters of the backbone have torchvision's names. Its output is the input of torchvision's last layer.

    Args:
        dropout: probability before the reshaped layer.
        size_px: side of the images; vision transformers are built for it.

    Raises:
        Refusal: there is no such network, or it does not take such images.
    """
    _require_known(architecture)
    if in_channels != IN_CHANNELS:
        raise Refusal(f"model.input_mean has {in_channels} values: {architecture} takes {IN_CHANNELS} channels")
    described = f"torchvision {torchvision.__version__}, {architecture}"
    network = _build(architecture, size_px)
    if isinstance(network, models.SqueezeNet):
        channels = cast(nn.Conv2d, network.classifier[1]).in_channels
        backbone = nn.Sequential(OrderedDict(features=network.features))
        return with_head(backbone, squeezenet_head(channels, num_outputs, dropout=dropout), described=described)
    last = _remove_last_layer(network)
    head = linear_head(last.in_features, num_outputs, dropout=dropout, bias=last.bias is not None)
    return with_head(network, head, described=described)


def load_torchvision(
    model: nn.Module,
    weights: str,
    *,
    architecture: str,
    input_mean: Sequence[float] | None,
    input_std: Sequence[float] | None,
    on_progress: OnProgress = ignore_progress,
    **_: object,
) -> str:
    """Load the backbone of a network of `build_torchvision`; return the SHA-256 of the file.

    Args:
        weights: imagenet (torchvision's default), the name of another of its entries, or the path of a state dict.
        input_mean, input_std: of each channel; those of torchvision's own files are known and must be these.

    Raises:
        Refusal: the file cannot be downloaded, is damaged, belongs to another network, or needs another normalisation
            or another size of images.
    """
    entries = models.get_model_weights(architecture)
    names = [entry.name for entry in entries]
    if weights != "imagenet" and weights not in names and re.fullmatch(NAME_OF_ENTRY, weights):
        raise Refusal(f"model.weights={weights}: {architecture} has imagenet, {', '.join(names)}, none, or a path")
    if weights != "imagenet" and weights not in names:
        path = Path(weights)
    else:
        entry = cast(Any, entries).DEFAULT if weights == "imagenet" else entries[weights]
        images, asked = entry.transforms(), f"model.weights={weights}: {entry.name} of {architecture}"
        require_normalisation(asked, mean=images.mean, std=images.std, input_mean=input_mean, input_std=input_std)
        _require_size(model.get_submodule("backbone"), images.crop_size[0], asked)
        path = find_file(entry.url, asked=weights, on_progress=on_progress)
    load_backbone(model, path)
    return sha256_of_file(path)


def _require_known(architecture: str) -> None:
    known = models.list_models(module=models)  # of images: not of videos, segmentation or detection
    if architecture not in known:
        hint = did_you_mean(architecture, known)
        raise Refusal(f"model.architecture={architecture}: torchvision has no such network: {hint}")


def _build(architecture: str, size_px: int) -> nn.Module:
    arguments: dict[str, Any] = dict(ARGUMENTS.get(architecture, {}))
    if architecture.startswith("vit_"):
        arguments["image_size"] = size_px
    elif architecture.startswith("maxvit_"):
        arguments["input_size"] = (size_px, size_px)
    try:
        return cast(nn.Module, models.get_model(architecture, weights=None, **arguments))
    except (AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".!")
        raise Refusal(f"preprocessing.size_px={size_px}: {architecture} takes no such images ({reason})") from None


def _remove_last_layer(network: nn.Module) -> nn.Linear:
    """Replace the last layer, and a dropout directly before it, by nothing; return the layer."""
    names, layers = zip(*network.named_modules(), strict=True)
    place = max(place for place, layer in enumerate(layers) if isinstance(layer, nn.Linear))
    assert layers[place].out_features == 1000, "ImageNet's"
    network.set_submodule(names[place], nn.Identity())
    if isinstance(layers[place - 1], nn.Dropout):
        network.set_submodule(names[place - 1], nn.Identity())
    return cast(nn.Linear, layers[place])


def _require_size(backbone: nn.Module, size_px: int, asked: str) -> None:
    """Refuse weights of a vision transformer for images of another size than it was built for."""
    if isinstance(backbone, models.VisionTransformer) and backbone.image_size != size_px:
        raise Refusal(f"{asked}: takes images of {size_px} pixels: give preprocessing.size_px={size_px}")

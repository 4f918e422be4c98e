"""A network of the user's own, from a function that the user names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dxa_tbs.errors import Refusal
from dxa_tbs.models import fp32_layers
from dxa_tbs.own_code import describe_error, import_named


def build_own(
    *, factory: str, settings: Mapping[str, Any], num_outputs: int, in_channels: int, size_px: int
) -> nn.Module:
    """Return the network that the user's function returns.

    If its last step is a linear layer, that layer is computed in fp32 in every precision, like those of our networks.

    Args:
        factory: package.module:function, called with num_outputs, in_channels, size_px and the settings.

    Raises:
        Refusal: the function cannot be imported or fails, or what it returns cannot be trained.
    """
    key = f"model.factory={factory}"
    build = import_named(factory, key="model.factory")
    try:
        model = build(num_outputs=num_outputs, in_channels=in_channels, size_px=size_px, **settings)
    except Exception as error:  # it is the user's
        raise Refusal(f"{key}: fails ({describe_error(error)})") from None
    if not isinstance(model, nn.Module):
        raise Refusal(f"{key}: returns {type(model).__name__}: it must return a torch.nn.Module")
    images = torch.zeros(2, in_channels, size_px, size_px)
    _require_outputs(model, images, num_outputs, key)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise Refusal(f"{key}: returns a network without parameters to train")
    if not all(isinstance(tensor, torch.Tensor) for tensor in model.state_dict().values()):
        raise Refusal(f"{key}: its state_dict() holds more than tensors, which model.pt cannot hold")
    return model


@torch.no_grad()
def _require_outputs(model: nn.Module, images_BCSS: torch.Tensor, num_outputs: int, key: str) -> None:
    """Refuse a network without one row of outputs per image, in evaluation and in training; leave it unchanged."""
    with torch.random.fork_rng(devices=[]):
        for is_training in (False, True):
            model.train(is_training)
            before = [buffer.clone() for buffer in model.buffers()] if is_training else []
            try:
                outputs, last = _forward(model, images_BCSS)
            except Exception as error:  # it is the user's
                shape = " x ".join(map(str, images_BCSS.shape))
                raise Refusal(f"{key}: fails for images of {shape} ({describe_error(error)})") from None
            for buffer, value in zip(model.buffers(), before, strict=is_training):
                buffer.copy_(value)
            mode = "training" if is_training else "evaluation"
            wanted = (len(images_BCSS), num_outputs)
            if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != wanted:
                found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
                raise Refusal(f"{key}: its output for two images in {mode} is {found}, not a tensor of shape {wanted}")
    if type(last) is nn.Linear:
        last.__class__ = fp32_layers.Linear  # the same parameters, wherever the network refers to the layer


def _forward(model: nn.Module, images_BCSS: torch.Tensor) -> tuple[Any, nn.Module | None]:
    """Return the outputs, and the layer that they come from unchanged."""
    made: list[tuple[nn.Module, Any]] = []
    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda leaf, _, output: made.append((leaf, output))) for leaf in leaves]
    try:
        outputs = model(images_BCSS)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, next((leaf for leaf, output in made if output is outputs), None)

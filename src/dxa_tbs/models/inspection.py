"""Inspect a network: its layers, its trainable parameters, and whether its BatchNorm layers train."""

from __future__ import annotations

import torch
from torch import nn


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@torch.no_grad()
def describe_layers(
    model: nn.Module, image_BCHW: torch.Tensor
) -> tuple[list[dict[str, object]], tuple[int, ...] | None]:
    """Return the layers of a network in order of computation, and the shape of its output; None: not a tensor.

    Each layer has a name, a kind, an output shape (CxHxW or C) and a number of parameters. The shapes are measured by
    passing an image through the network; the network is not changed.
    """
    rows: list[dict[str, object]] = []
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        count = sum(parameter.numel() for parameter in module.parameters())
        shape = "x".join(str(size) for size in output.shape[1:])
        rows.append({"layer": names[module], "kind": type(module).__name__, "output_shape": shape, "parameters": count})

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    was_training = model.training
    try:
        output = model.eval()(image_BCHW)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return rows, tuple(output.shape) if isinstance(output, torch.Tensor) else None


def trains_batchnorm(model: nn.Module, *, moves_frozen_bn: bool) -> bool:
    """Return whether the output for an image depends, in training, on the other images of its batch."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    return any(moves_frozen_bn or module.weight.requires_grad for module in norms)

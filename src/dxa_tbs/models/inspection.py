"""Inspect a network: its layers and its trainable parameters."""

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
    passing an image through the network; the network is not changed. A layer without a tensor as its output has no
    shape. Each parameter is counted once; layers whose parameters are used without calling them come last.
    """
    rows: list[dict[str, object]] = []
    names = {module: name for name, module in model.named_modules()}
    counted: set[nn.Parameter] = set()

    def note(module: nn.Module, inputs: object, output: object) -> None:
        parameters = set(module.parameters(recurse=False)) - counted
        counted.update(parameters)
        shape = "x".join(str(size) for size in output.shape[1:]) if isinstance(output, torch.Tensor) else ""
        count = sum(parameter.numel() for parameter in parameters)
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
    for module in model.modules():
        if not counted.issuperset(module.parameters(recurse=False)):
            note(module, None, None)
    return rows, tuple(output.shape) if isinstance(output, torch.Tensor) else None

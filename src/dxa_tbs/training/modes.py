"""Which parts of a network are in training mode while it is trained."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # of all dimensions


def enter_training(model: nn.Module, *, moves_frozen_bn: bool) -> None:
    """Switch to training mode, except what is frozen: it computes the same in every epoch.

    Frozen are the children of the network, and the BatchNorm layers anywhere, that have parameters of which none
    trains. Dropout between them has no parameters and stays active.

    Args:
        moves_frozen_bn: whether the statistics of frozen BatchNorm layers follow the batches.
    """
    model.train()
    for child in model.children():
        if _is_frozen(child):
            child.eval()
    for norm, is_frozen in _batchnorms(model):
        if is_frozen:
            norm.train(moves_frozen_bn)


def trains_batchnorm(model: nn.Module, *, moves_frozen_bn: bool) -> bool:
    """Return whether the output for an image depends, in training, on the other images of its batch."""
    return any(moves_frozen_bn or not is_frozen for _, is_frozen in _batchnorms(model))


def _batchnorms(model: nn.Module) -> Iterator[tuple[nn.Module, bool]]:
    """Yield each BatchNorm layer, and whether it is frozen: it may have no parameters but be in a frozen child."""
    within = {module for child in model.children() if _is_frozen(child) for module in child.modules()}
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            yield module, module in within or _is_frozen(module)


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)

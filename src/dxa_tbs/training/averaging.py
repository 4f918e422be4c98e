"""A moving average of the weights (EMA), which is validated, kept and tested instead of the weights themselves."""

from __future__ import annotations

import copy
import dataclasses
from itertools import chain

import torch
from torch import nn

from dxa_tbs.training.step import Step


def with_average(step: Step, model: nn.Module, *, decay: float) -> Step:
    """Return a step that also updates the average of the weights, `Step.averaged`, after the optimizer.

    The average begins with the weights after the first step. It is updated outside a recorded step, which is undone
    after the recording: a few kernels more per step. A step that fp16's scaler skips, because its gradients are
    infinite, leaves the average as it is.

    Args:
        step: recorded or not.
        decay: of the average, see `update_average`.
    """
    averaged = averaged_copy(model)
    is_first = True

    def run(inputs_B: torch.Tensor, targets_B: torch.Tensor) -> None:
        nonlocal is_first
        scale = step.scaler.get_scale()
        step.run(inputs_B, targets_B)
        if step.scaler.get_scale() >= scale:  # the scaler lowers it after a skipped step
            update_average(averaged, model, decay=0.0 if is_first else decay)
            is_first = False

    return dataclasses.replace(step, run=run, averaged=averaged)


def averaged_copy(model: nn.Module) -> nn.Module:
    """Return a copy of the model to hold the average; it shares the frozen weights."""
    frozen = {id(weight): weight for weight in model.parameters() if not weight.requires_grad}
    return copy.deepcopy(model, frozen)


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, *, decay: float) -> None:
    """Set average <- decay x average + (1 - decay) x weights, in place, for trained weights and buffers.

    Buffers, such as BatchNorm's statistics, belong to the weights; those of whole numbers are copied.
    """
    averages = chain(averaged.parameters(), averaged.buffers())
    current = chain(model.parameters(), model.buffers())
    pairs = [(average, value) for average, value in zip(averages, current, strict=True) if average is not value]
    numbers = [pair for pair in pairs if pair[0].is_floating_point()]
    if numbers:
        torch._foreach_lerp_([average for average, _ in numbers], [value for _, value in numbers], 1 - decay)
    for average, value in pairs:
        if not average.is_floating_point():
            average.copy_(value)

"""Check before training that one step of a network in a low precision agrees with fp32."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dxa_tbs.config.choices import Precision
from dxa_tbs.training.batches import Normalisation
from dxa_tbs.training.modes import enter_training
from dxa_tbs.training.precision import compute_exactly, lowered
from dxa_tbs.training.step import Loss

Outcome = tuple[torch.Tensor, list[torch.Tensor]]  # logits (B, K) and the gradient of each weight

# In the fourteen experiments, bf16 changed the logits by at most 5 %, and the length of the gradient by at most 10 %.
# The cosine between the gradients was .73 for DenseNet-121 and .93 or more for all others. A network that computes
# wrong results is far outside these bounds. NaN is outside any bound.
MOST_OF_LOGITS = 0.2
LENGTHS = (0.67, 1.5)
LEAST_COSINE = 0.4
FP16_LOSS_SCALE = 2.0**10  # training starts at 2**16 and adapts


def disagreement(
    model: nn.Module, normalise: Normalisation, precision: Precision, *, loss: Loss, size_px: int = 224
) -> str | None:
    """Describe how a step in this precision differs from one in fp32; None if only by rounding.

    The step uses four noise images instead of the cohort, because BatchNorm magnifies rounding errors for images that
    are much alike. Nothing is dropped at random, because the same seed gives different masks for 16 and 32 bits. The
    model and the state of the random generators are not changed.
    """
    device = normalise.scale_C.device
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, size_px, size_px), generator=draws, dtype=torch.uint8).to(device)
    targets = torch.tensor([0.0, 1.0, 0.0, 1.0], device=device)

    def step(in_precision: Precision) -> Outcome:
        tried = copy.deepcopy(model)
        enter_training(tried, moves_frozen_bn=False)
        for module in tried.modules():
            module.training &= isinstance(module, _BatchNorm)
        compute_exactly(in_precision)
        torch.manual_seed(0)
        with lowered(device, in_precision):
            outputs = tried(normalise.to_input(pixels)).float()
        scale = FP16_LOSS_SCALE if in_precision is Precision.fp16 else 1.0
        (loss(outputs, targets) * scale).backward()
        gradients = [weight.grad.div_(scale) for weight in tried.parameters() if weight.grad is not None]
        return outputs.detach(), gradients

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        exact, low = step(Precision.fp32), step(precision)
    return compare_steps(exact, low)


def compare_steps(exact: Outcome, low: Outcome) -> str | None:
    """Describe how the second step differs from the first; None if only by rounding."""
    logits = float((low[0] - exact[0]).norm() / exact[0].norm())
    squares = _dot(low[1], low[1]), _dot(exact[1], exact[1])
    length = float((squares[0] / squares[1]).sqrt())
    cosine = float(_dot(low[1], exact[1]) / (squares[0] * squares[1]).sqrt())
    if logits <= MOST_OF_LOGITS and LENGTHS[0] <= length <= LENGTHS[1] and cosine >= LEAST_COSINE:
        return None
    return f"logits differ by {logits:.0%}, gradients {length:.2f} times as long, cosine {cosine:.2f}"


def _dot(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the scalar product of two gradients, without copying them: those of VGG-16 take half a gigabyte."""
    return torch.stack([torch.dot(a.flatten(), b.flatten()) for a, b in zip(one, other, strict=True)]).double().sum()

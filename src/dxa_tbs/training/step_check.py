"""Whether a network computes in a low precision what it computes in fp32: one step, before training."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from dxa_tbs.config.choices import Precision
from dxa_tbs.training.batches import Normalisation
from dxa_tbs.training.precision import compute_exactly, lowered
from dxa_tbs.training.step import Loss, enter_training

Outcome = tuple[torch.Tensor, list[torch.Tensor]]  # logits (B, K) and the gradient of each weight

# Of the fourteen experiments, bf16 changed the logits by at most 5 %, the length of the gradient by at most 10 %, and
# its direction by a cosine of .73 (DenseNet-121, all others .93 or more). A network that computes something else is
# far from that; NaN is no number within any bound.
MOST_OF_LOGITS = 0.2
LENGTHS = (0.67, 1.5)
LEAST_COSINE = 0.4
FP16_LOSS_SCALE = 2.0**10  # training begins with 2**16 and finds the one that fits


def disagreement(model: nn.Module, normalise: Normalisation, precision: Precision, *, loss: Loss) -> str | None:
    """Return how one step in this precision differs from one in fp32, too much to be rounding; None: it does not.

    On four images of noise rather than of the cohort: BatchNorm magnifies the rounding of images that are much alike.
    Without dropout: a GPU draws other masks for 16 bits than for 32 from the same seed. The model is left as it was,
    and so are the random numbers to come.
    """
    device = normalise.scale_C.device
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, 224, 224), generator=draws, dtype=torch.uint8).to(device)
    targets = torch.tensor([0.0, 1.0, 0.0, 1.0], device=device)

    def step(in_precision: Precision) -> Outcome:
        tried = copy.deepcopy(model)
        enter_training(tried, moves_frozen_bn=False)
        for module in tried.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
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
    """Return in what the second step differs from the first beyond rounding, if it does."""
    logits = float((low[0] - exact[0]).norm() / exact[0].norm())
    squares = _dot(low[1], low[1]), _dot(exact[1], exact[1])
    length = float((squares[0] / squares[1]).sqrt())
    cosine = float(_dot(low[1], exact[1]) / (squares[0] * squares[1]).sqrt())
    if logits <= MOST_OF_LOGITS and LENGTHS[0] <= length <= LENGTHS[1] and cosine >= LEAST_COSINE:
        return None
    return f"logits differ by {logits:.0%}, gradients {length:.2f} times as long, cosine {cosine:.2f}"


def _dot(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the scalar product of two gradients, without a copy of either: VGG-16's take half a gigabyte."""
    return torch.stack([torch.dot(a.flatten(), b.flatten()) for a, b in zip(one, other, strict=True)]).double().sum()

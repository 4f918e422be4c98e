"""Learning rates that change during training, for a step that is recorded as a CUDA graph.

A recorded step repeats its kernels with the numbers they were launched with. A learning rate that is a tensor on the
device is read anew in each replay instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import nn
from torch.optim import Optimizer


class RateNotFollowedError(Exception):
    """A recorded step of this optimizer does not follow its learning rate."""


@contextlib.contextmanager
def rates_on_device(optimizer: Optimizer, device: torch.device, *, is_needed: bool) -> Iterator[Sequence[torch.Tensor]]:
    """Replace the learning rates by tensors within the block, and yield these; restore the numbers afterwards.

    Args:
        is_needed: whether the learning rate changes during training; if not, nothing is replaced.
    """
    if not is_needed:
        yield ()
        return
    numbers = [group["lr"] for group in optimizer.param_groups]
    tensors = [torch.tensor(float(number), device=device) for number in numbers]
    for group, tensor in zip(optimizer.param_groups, tensors, strict=True):
        group["lr"] = tensor
    try:
        yield tensors
    finally:
        for group, number in zip(optimizer.param_groups, numbers, strict=True):
            group["lr"] = number


def require_followed(
    graphs: Iterable[torch.cuda.CUDAGraph], rates: Sequence[torch.Tensor], model: nn.Module, optimizer: Optimizer
) -> None:
    """Replay each graph with a learning rate of 0, and check that no weight moves.

    Raises:
        RateNotFollowedError: a weight has moved: the graph holds a learning rate of its own.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    before = [weight.detach().to("cpu", copy=True) for weight in weights]
    for rate in rates:
        rate.zero_()
    for graph in graphs:
        graph.replay()
    if not all(torch.equal(weight.detach().cpu(), kept) for weight, kept in zip(weights, before, strict=True)):
        raise RateNotFollowedError(f"{type(optimizer).__name__} moves weights at a learning rate of 0")


def rate_setter(optimizer: Optimizer, rates: Sequence[torch.Tensor]) -> Callable[[], None]:
    """Return a function that copies the optimizer's learning rates, which are numbers, to the tensors."""
    known: list[float | None] = [None] * len(rates)

    def set_rates() -> None:
        for place, rate in enumerate(rates):
            number = float(optimizer.param_groups[place]["lr"])
            if number != known[place]:
                rate.fill_(number)
                known[place] = number

    return set_rates

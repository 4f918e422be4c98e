"""Schedules of the learning rate. It is constant within an epoch.

A schedule takes the optimizer and returns a function that is called with the watched loss after each epoch, and sets
the learning rates of the next one. With warm-up, epoch e of the first w epochs has e / (w + 1) of the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

Schedule = Callable[[float], None]


def constant(optimizer: Optimizer, *, epochs: int) -> Schedule:
    """Keep the learning rate as it is."""
    return keep_rates


def keep_rates(watched_loss: float) -> None:
    """Change nothing: a constant learning rate."""


def cosine(optimizer: Optimizer, *, epochs: int, warmup_epochs: int) -> Schedule:
    """Lower the learning rate along half a cosine: eta_t = eta (1 + cos(pi t / T)) / 2.

    T is the number of epochs without warm-up, and t, from 0 to T - 1, is the number of epochs of them that are over:
    the first of them has the full learning rate, and none has a learning rate of 0. Source: Loshchilov and Hutter,
    SGDR, ICLR 2017, equation 5, without restarts.
    """

    def factor(epoch: int) -> float:
        if epoch < warmup_epochs:
            return _warm_up(epoch, warmup_epochs)
        return (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs))) / 2

    scheduler = LambdaLR(optimizer, factor)
    return lambda watched_loss: scheduler.step()


def plateau(optimizer: Optimizer, *, epochs: int, warmup_epochs: int, factor: float, patience: int) -> Schedule:
    """Multiply the learning rate by `factor` after `patience` epochs in a row without a lower watched loss.

    Lower means lower by any amount, as for early stopping. Losses of the warm-up are not counted.
    """
    warm_up = LambdaLR(optimizer, lambda epoch: _warm_up(epoch, warmup_epochs))
    after = ReduceLROnPlateau(
        optimizer,
        factor=factor,
        patience=patience - 1,  # torch waits for one epoch more than its patience
        threshold=0.0,
        threshold_mode="abs",
        eps=0.0,
    )

    def schedule(watched_loss: float) -> None:
        if warm_up.last_epoch < warmup_epochs:
            warm_up.step()
        else:
            after.step(watched_loss)

    return schedule


def _warm_up(epoch: int, warmup_epochs: int) -> float:
    """Return the factor of the learning rate in an epoch, counted from 0."""
    return min(1.0, (epoch + 1) / (warmup_epochs + 1))

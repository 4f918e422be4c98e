"""The order in which an epoch takes the training images. An epoch always has as many as the training set."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def shuffle(targets_N: torch.Tensor, *, seed: int) -> Iterator[torch.Tensor]:
    """Yield the order of each epoch, int64 (N,): every image once."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randperm(len(targets_N), generator=generator)


def balanced(targets_N: torch.Tensor, *, seed: int) -> Iterator[torch.Tensor]:
    """Yield the order of each epoch, int64 (N,), in which every class has the same share.

    If N is not a multiple of the number of classes, some classes have one image more; these change from epoch to epoch.
    Over all epochs so far, the images of a class have been taken equally often, except for one time.

    Args:
        targets_N: class numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = [(targets_N == number).nonzero().flatten().cpu() for number in targets_N.unique()]
    waiting = [torch.empty(0, dtype=torch.long) for _ in classes]  # of each class, the rest of the current round
    share, rest = divmod(len(targets_N), len(classes))
    first = 0  # the class that gets the first of the images that are left over
    while True:
        taken = []
        for number, rows in enumerate(classes):
            size = share + ((number - first) % len(classes) < rest)
            while len(waiting[number]) < size:
                waiting[number] = torch.cat([waiting[number], rows[torch.randperm(len(rows), generator=generator)]])
            taken.append(waiting[number][:size])
            waiting[number] = waiting[number][size:]
        first = (first + rest) % len(classes)
        yield torch.cat(taken)[torch.randperm(len(targets_N), generator=generator)]

"""Training images that are changed anew in each epoch, by a function that this room is given."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import joblib
import numpy as np
import torch

from dxa_tbs.training.batches import BATCHES_AHEAD, Samples, not_far_ahead


@dataclass(frozen=True)
class ChangingSamples(Samples):
    """Samples whose images are made while the network trains, a few batches ahead of it.

    `take` returns the unchanged images.

    Attributes:
        rows_N: on the host, unlike those of other samples.
        change: takes a row, the number of an epoch, and how often the row came before in it; returns the image that is
            shown then, uint8 (H, W). It is called from several threads, and its results must not depend on their order.
        epoch: counts from 1.
    """

    change: Callable[[int, int, int], np.ndarray]
    epoch: int = 1

    def in_epoch(self, number: int) -> ChangingSamples:
        return dataclasses.replace(self, epoch=number)

    def batches(self, indices: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the changed images and the targets of each batch; at most BATCHES_AHEAD batches are made in advance."""
        yield from not_far_ahead(self._made(indices), self.targets_N.device)

    def _made(self, indices: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        making: deque[tuple[torch.Tensor, list[Future[np.ndarray]]]] = deque()
        before: Counter[int] = Counter()
        with ThreadPoolExecutor(max_workers=joblib.cpu_count()) as pool:
            try:
                for index_B in indices:
                    images = []
                    for row in self.rows_N[index_B].tolist():
                        images.append(pool.submit(self.change, row, self.epoch, before[row]))
                        before[row] += 1
                    making.append((index_B, images))
                    if len(making) > BATCHES_AHEAD:
                        yield self._placed(*making.popleft())
                while making:
                    yield self._placed(*making.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _placed(self, index_B: torch.Tensor, images: Sequence[Future[np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images, once they are made, and their targets, on the device."""
        device = self.targets_N.device
        inputs_BHW = torch.from_numpy(np.stack([image.result() for image in images]))
        if device.type == "cuda":  # pinned memory: the host does not wait for the copies
            inputs_BHW, index_B = (part.pin_memory().to(device, non_blocking=True) for part in (inputs_BHW, index_B))
        return inputs_BHW, self.targets_N[index_B]

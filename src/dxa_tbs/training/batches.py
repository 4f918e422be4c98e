"""From uint8 grey images, or features made of them, to what a network takes and gives.

Shapes: B images of a batch, N of a set, M in memory, H x W pixels, C channels, K outputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import nn

from dxa_tbs.config.choices import Precision
from dxa_tbs.training.memory import with_fewer_at_once
from dxa_tbs.training.precision import lowered

BATCHES_AHEAD = 2  # of the device, where they come from the host
EVAL_BATCH_SIZE = {"cpu": 16, "cuda": 64}  # without gradient and batch statistics a matter of cache and memory alone

ToInput = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Samples:
    """Images or features of a split, and their targets.

    Attributes:
        inputs_M: of the whole data set, on the device or, where that has no room, memory-mapped on the host: images,
            uint8 (M, H, W), or features (M, ...).
        rows_N: which of them are the split's, where the inputs are.
        targets_N: float32, on the device: the numbers of classes, or values.
    """

    inputs_M: torch.Tensor
    rows_N: torch.Tensor
    targets_N: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets_N)

    @property
    def is_resident(self) -> bool:
        return self.inputs_M.device == self.targets_N.device

    def take(self, index_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and targets, on the device, of the samples of these numbers."""
        device = self.targets_N.device
        inputs = self.inputs_M[self.rows_N[index_B.to(self.rows_N.device)]]
        if not self.is_resident:  # from pinned memory, so that the copies wait in the device's queue, not the host
            inputs, index_B = (part.pin_memory().to(device, non_blocking=True) for part in (inputs, index_B))
        return inputs, self.targets_N[index_B.to(device)]

    def batches(self, indices: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield `take` of each; from the host, the next batch is fetched while the device is at work on this one."""
        if self.is_resident:
            yield from map(self.take, indices)
            return
        done: deque[torch.cuda.Event] = deque()
        with ThreadPoolExecutor(max_workers=1) as fetcher:
            ahead = fetcher.submit(self.take, indices[0])
            for index_B in indices[1:]:
                batch, ahead = ahead.result(), fetcher.submit(self.take, index_B)
                yield batch
                done.append(torch.cuda.current_stream(self.targets_N.device).record_event())
                if len(done) > BATCHES_AHEAD:  # else the host would run ahead and pin memory for an epoch of them
                    done.popleft().synchronize()
            yield ahead.result()


@dataclass(frozen=True)
class Normalisation:
    """Grey level to network input, per channel: grey x scale + shift; float32 (3,), on the device of the images.

    Attributes:
        is_channels_last: how the input lies in memory.
    """

    scale_C: torch.Tensor
    shift_C: torch.Tensor
    is_channels_last: bool = True

    @property
    def is_grey(self) -> bool:
        """Whether the channels come out equal."""
        return all(bool((values == values[0]).all()) for values in (self.scale_C, self.shift_C))

    def to_input(self, pixels_BHW: torch.Tensor) -> torch.Tensor:
        """Return float32 (B, 3, H, W): the grey repeated, each channel normalised."""
        return self._normalised(pixels_BHW, self.scale_C, self.shift_C)

    def to_grey_input(self, pixels_BHW: torch.Tensor) -> torch.Tensor:
        """Return float32 (B, 1, H, W): the first of the channels."""
        return self._normalised(pixels_BHW, self.scale_C[:1], self.shift_C[:1])

    def _normalised(self, pixels_BHW: torch.Tensor, scale_C: torch.Tensor, shift_C: torch.Tensor) -> torch.Tensor:
        if self.is_channels_last:
            return (pixels_BHW.unsqueeze(-1) * scale_C + shift_C).permute(0, 3, 1, 2)
        return pixels_BHW.unsqueeze(1) * scale_C.view(-1, 1, 1) + shift_C.view(-1, 1, 1)


def build_normalisation(
    mean: Sequence[float], std: Sequence[float], device: torch.device, *, is_channels_last: bool = True
) -> Normalisation:
    """Return what computes (grey / 255 - mean) / std per channel."""
    std_C = torch.tensor(std, device=device)
    return Normalisation(1 / (255 * std_C), -torch.tensor(mean, device=device) / std_C, is_channels_last)


@torch.inference_mode()
def predict_outputs(
    model: nn.Module, samples: Samples, to_input: ToInput, precision: Precision = Precision.fp32
) -> torch.Tensor:
    """Return the outputs, float32 (N, K), of every sample in its order; the model is left in evaluation mode."""
    model.eval()
    device = samples.targets_N.device
    index_N = torch.arange(len(samples), device=samples.rows_N.device)

    def predict(size: int) -> torch.Tensor:
        with lowered(device, precision):
            batches = samples.batches(index_N.split(size))
            return torch.cat([model(to_input(inputs)).float() for inputs, _ in batches])

    return with_fewer_at_once(predict, EVAL_BATCH_SIZE[device.type])

"""Batches of uint8 grey images or features, their normalisation, and the outputs of a network for them.

Shapes: B images of a batch, N of a split, M in memory, H x W pixels, C channels, K outputs.
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

BATCHES_AHEAD = 2  # batches that the host may be ahead of the device
EVAL_BATCH_SIZE = {"cpu": 16, "cuda": 64}  # affects only speed and memory: no gradients, no batch statistics

ToInput = Callable[[torch.Tensor], torch.Tensor]
ToChannels = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Samples:
    """Images or features of a split, and their targets.

    Attributes:
        inputs_M: images, uint8 (M, H, W), or features (M, ...), of the whole data set; on the device or, if they do not
            fit, memory-mapped on the host.
        rows_N: the rows of the split in inputs_M, on the same device.
        targets_N: class numbers or values, float32, on the device.
    """

    inputs_M: torch.Tensor
    rows_N: torch.Tensor
    targets_N: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets_N)

    @property
    def is_resident(self) -> bool:
        return self.inputs_M.device == self.targets_N.device

    def in_epoch(self, number: int) -> Samples:
        """Return the samples of an epoch; these are the same in each."""
        return self

    def take(self, index_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs and targets of the samples with these indices, on the device."""
        device = self.targets_N.device
        inputs = self.inputs_M[self.rows_N[index_B.to(self.rows_N.device)]]
        if not self.is_resident:  # pinned memory: the host does not wait for the copies
            inputs, index_B = (part.pin_memory().to(device, non_blocking=True) for part in (inputs, index_B))
        return inputs, self.targets_N[index_B.to(device)]

    def batches(self, indices: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield inputs and targets of each batch; from the host, the next batch is fetched while the device works."""
        if self.is_resident:
            yield from map(self.take, indices)
            return
        yield from not_far_ahead(self._fetched(indices), self.targets_N.device)

    def _fetched(self, indices: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        with ThreadPoolExecutor(max_workers=1) as fetcher:
            ahead = fetcher.submit(self.take, indices[0])
            for index_B in indices[1:]:
                batch, ahead = ahead.result(), fetcher.submit(self.take, index_B)
                yield batch
            yield ahead.result()


def not_far_ahead(
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]], device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches from the host; wait for a GPU that falls behind, else memory would be pinned for all batches."""
    done: deque[torch.cuda.Event] = deque()
    for batch in batches:
        yield batch
        if device.type == "cuda":
            done.append(torch.cuda.current_stream(device).record_event())
            if len(done) > BATCHES_AHEAD:
                done.popleft().synchronize()


@dataclass(frozen=True)
class Normalisation:
    """Converts grey levels to the input of a network, in each channel: level x scale + shift.

    Attributes:
        scale_C, shift_C: float32 (C,), on the device of the images.
        is_channels_last: the memory format of the input.
        to_channels: converts grey levels, float32 (B, H, W), to the levels of each channel, (B, C, H, W); None: all
            are the grey level.
        channels: names this conversion and its settings.
    """

    scale_C: torch.Tensor
    shift_C: torch.Tensor
    is_channels_last: bool = True
    to_channels: ToChannels | None = None
    channels: str = "grey"

    @property
    def is_grey(self) -> bool:
        """Whether all channels of the input are equal."""
        return self.to_channels is None and all(
            bool((values == values[0]).all()) for values in (self.scale_C, self.shift_C)
        )

    def to_input(self, pixels_BHW: torch.Tensor) -> torch.Tensor:
        """Return the normalised channels of images, float32 (B, C, H, W)."""
        if self.to_channels is not None:
            levels = self.to_channels(pixels_BHW.float()) * self.scale_C.view(-1, 1, 1) + self.shift_C.view(-1, 1, 1)
            return levels.contiguous(memory_format=torch.channels_last) if self.is_channels_last else levels
        return self._normalised(pixels_BHW, self.scale_C, self.shift_C)

    def to_grey_input(self, pixels_BHW: torch.Tensor) -> torch.Tensor:
        """Return the first channel of the input, float32 (B, 1, H, W)."""
        return self._normalised(pixels_BHW, self.scale_C[:1], self.shift_C[:1])

    def _normalised(self, pixels_BHW: torch.Tensor, scale_C: torch.Tensor, shift_C: torch.Tensor) -> torch.Tensor:
        if self.is_channels_last:
            return (pixels_BHW.unsqueeze(-1) * scale_C + shift_C).permute(0, 3, 1, 2)
        return pixels_BHW.unsqueeze(1) * scale_C.view(-1, 1, 1) + shift_C.view(-1, 1, 1)


def build_normalisation(
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    *,
    is_channels_last: bool = True,
    to_channels: ToChannels | None = None,
    channels: str = "grey",
) -> Normalisation:
    """Return the normalisation (level / 255 - mean) / std of each channel."""
    std_C = torch.tensor(std, device=device)
    shift_C = -torch.tensor(mean, device=device) / std_C
    return Normalisation(1 / (255 * std_C), shift_C, is_channels_last, to_channels, channels)


@torch.inference_mode()
def predict_outputs(
    model: nn.Module, samples: Samples, to_input: ToInput, precision: Precision = Precision.fp32
) -> torch.Tensor:
    """Return the outputs of all samples in order, float32 (N, K); leave the model in evaluation mode."""
    model.eval()
    device = samples.targets_N.device
    index_N = torch.arange(len(samples), device=samples.rows_N.device)

    def predict(size: int) -> torch.Tensor:
        with lowered(device, precision):
            batches = samples.batches(index_N.split(size))
            return torch.cat([model(to_input(inputs)).float() for inputs, _ in batches])

    return with_fewer_at_once(predict, EVAL_BATCH_SIZE[device.type])

"""From uint8 grey images, or features made of them, to what a network takes and gives.

Shapes: B images of a batch, N of a set, H x W pixels, C channels, K outputs: one logit of Degraded, or one of Normal
and one of Degraded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dxa_tbs.config import Precision

EVAL_BATCH_SIZE = {"cpu": 16, "cuda": 64}  # without gradient and batch statistics a matter of cache and memory alone

ToInput = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Samples:
    """Images, uint8 (N, H, W), or features (N, ...), and labels, float32 (N,) with 1 for Degraded, on one device."""

    inputs_N: torch.Tensor
    labels_N: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True)
class Normalisation:
    """Grey level to network input, per channel: grey x scale + shift; float32 (3,), on the device of the images."""

    scale_C: torch.Tensor
    shift_C: torch.Tensor

    def to_input(self, pixels_BHW: torch.Tensor) -> torch.Tensor:
        """Return float32 (B, 3, H, W) in channels-last memory: the grey repeated, each channel normalised."""
        images_BHWC = pixels_BHW.unsqueeze(-1) * self.scale_C + self.shift_C
        return images_BHWC.permute(0, 3, 1, 2)


def build_normalisation(mean: Sequence[float], std: Sequence[float], device: torch.device) -> Normalisation:
    """Return what computes (grey / 255 - mean) / std per channel."""
    std_C = torch.tensor(std, device=device)
    return Normalisation(1 / (255 * std_C), -torch.tensor(mean, device=device) / std_C)


def to_samples(inputs: np.ndarray, labels: np.ndarray, device: torch.device) -> Samples:
    """Copy images or features, (N, ...), and labels, (N,), to the device."""
    return Samples(
        torch.from_numpy(np.require(inputs, requirements="W")).to(device),
        torch.from_numpy(labels.astype(np.float32)).to(device),
    )


def cross_entropy(logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy: of a sigmoid for one output, of a softmax for two."""
    if logits_BK.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits_BK.squeeze(1), labels_B)
    return nn.functional.cross_entropy(logits_BK, labels_B.long())


def lowered(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network computes in a precision; its weights stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision is Precision.bf16)


@torch.inference_mode()
def predict_logits(
    model: nn.Module, inputs_N: torch.Tensor, to_input: ToInput, precision: Precision = Precision.fp32
) -> torch.Tensor:
    """Return the logits, float32 (N, K), of every image in its order; the model is left in evaluation mode."""
    model.eval()
    with lowered(inputs_N.device, precision):
        return torch.cat(
            [model(to_input(batch)).float() for batch in inputs_N.split(EVAL_BATCH_SIZE[inputs_N.device.type])]
        )


def to_scores(logits_NK: torch.Tensor) -> np.ndarray:
    """Return the probability of Degraded, float64 (N,)."""
    logits = logits_NK.double()
    logit = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]  # softmax of two is their sigmoid
    return logit.sigmoid().cpu().numpy()

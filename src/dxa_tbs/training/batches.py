"""From uint8 grey images to what a network takes and gives.

Shapes: B images of a batch, N of a set, H x W pixels, C = 3 channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

EVAL_BATCH_SIZE = 128  # no gradient, no batch statistics: the size is a matter of memory alone


@dataclass(frozen=True)
class Samples:
    """Images and labels on one device: uint8 (N, H, W), float32 (N,) with 1 for Degraded."""

    pixels_NHW: torch.Tensor
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


def to_samples(pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Samples:
    """Copy images, uint8 (N, H, W), and labels, (N,), to the device."""
    return Samples(
        torch.from_numpy(np.array(pixels)).to(device), torch.from_numpy(labels.astype(np.float32)).to(device)
    )


def binary_loss(logits_B1: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy of one logit per image."""
    return nn.functional.binary_cross_entropy_with_logits(logits_B1.squeeze(1), labels_B)


@torch.inference_mode()
def predict_logits(model: nn.Module, pixels_NHW: torch.Tensor, normalise: Normalisation) -> torch.Tensor:
    """Return the logits, (N, 1), of every image in its order; the model is left in evaluation mode."""
    model.eval()
    return torch.cat([model(normalise.to_input(batch)) for batch in pixels_NHW.split(EVAL_BATCH_SIZE)])


def to_scores(logits_N1: torch.Tensor) -> np.ndarray:
    """Return the probability of Degraded, float64 (N,)."""
    return logits_N1.squeeze(1).double().sigmoid().cpu().numpy()

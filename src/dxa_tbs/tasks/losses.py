"""Loss functions: they take outputs (B, K) and targets (B,), and return the mean loss of the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cross_entropy(outputs_BK: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy, after a sigmoid for one output or a softmax for several."""
    from torch.nn import functional  # building a task does not import torch

    if outputs_BK.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(outputs_BK.squeeze(1), targets_B)
    return functional.cross_entropy(outputs_BK, targets_B.long())

"""Cross-entropy: after a sigmoid for one output, after a softmax for several."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cross_entropy(outputs_BK: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy, after a sigmoid for one output or a softmax for several."""
    return _cross_entropy(outputs_BK, targets_B, reduction="mean")


def cross_entropy_of_each(outputs_BK: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each image, (B,)."""
    return _cross_entropy(outputs_BK, targets_B, reduction="none")


def _cross_entropy(outputs_BK: torch.Tensor, targets_B: torch.Tensor, *, reduction: str) -> torch.Tensor:
    from torch.nn import functional  # building a task does not import torch

    if outputs_BK.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(outputs_BK.squeeze(1), targets_B, reduction=reduction)
    return functional.cross_entropy(outputs_BK, targets_B.long(), reduction=reduction)

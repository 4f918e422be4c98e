"""Losses: from outputs (B, K) and targets (B,) to their mean over images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cross_entropy(outputs_BK: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy: of a sigmoid for one output, of a softmax for several."""
    from torch.nn import functional  # here: a task is known before torch is needed

    if outputs_BK.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(outputs_BK.squeeze(1), targets_B)
    return functional.cross_entropy(outputs_BK, targets_B.long())

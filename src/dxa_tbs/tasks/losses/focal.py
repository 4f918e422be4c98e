"""The focal loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dxa_tbs.tasks.losses.entropy import cross_entropy_of_each
from dxa_tbs.tasks.losses.weighted import choose_weights, weight_of_each

if TYPE_CHECKING:
    import torch

TINY = 1.2e-38  # the smallest normal float32: a base of 0 would have an infinite slope for gamma below 1


def focal(
    outputs_BK: torch.Tensor,
    targets_B: torch.Tensor,
    *,
    gamma: float,
    class_weights: str | Sequence[float] | None,
    class_counts: Sequence[int] | None = None,
) -> torch.Tensor:
    """Return the mean over images of weight x (1 - p)^gamma x cross-entropy, p the probability of the true class.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 5. Their alpha, for two classes, are
    the class weights [1 - alpha, alpha].

    Args:
        class_weights: None, balanced, or one weight per class; see `weighted`.
        class_counts: number of training images of each class; None: not known, all classes count the same.
    """
    losses_B = cross_entropy_of_each(outputs_BK, targets_B)
    missed_B = -(-losses_B).expm1()  # 1 - p, because p = exp(-cross-entropy)
    focused_B = losses_B * missed_B.clamp(min=TINY) ** gamma
    return (focused_B * weight_of_each(targets_B, choose_weights(class_weights, class_counts))).mean()

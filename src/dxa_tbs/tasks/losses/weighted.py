"""Cross-entropy with a weight for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dxa_tbs.errors import Refusal
from dxa_tbs.tasks.losses.entropy import cross_entropy_of_each

if TYPE_CHECKING:
    import torch

BALANCED = "balanced"


def weighted(
    outputs_BK: torch.Tensor,
    targets_B: torch.Tensor,
    *,
    class_weights: str | Sequence[float],
    class_counts: Sequence[int] | None = None,
) -> torch.Tensor:
    """Return the mean over images of weight x cross-entropy.

    Args:
        class_weights: balanced, or one weight per class.
        class_counts: number of training images of each class; None: not known, all classes count the same.
    """
    losses_B = cross_entropy_of_each(outputs_BK, targets_B)
    return (losses_B * weight_of_each(targets_B, choose_weights(class_weights, class_counts))).mean()


def choose_weights(class_weights: str | Sequence[float] | None, class_counts: Sequence[int] | None) -> Sequence[float]:
    """Return the weight of each class; none if all count the same.

    Balanced weights are N / (K n_k) for N training images of K classes, n_k of them of class k: every class adds the
    same to the loss of an epoch, and the mean weight of the training images is 1.

    Raises:
        Refusal: balanced weights are asked for, and there are no training images of a class.
    """
    if class_weights != BALANCED:
        assert not isinstance(class_weights, str)
        return class_weights or ()
    if class_counts is None:
        return ()
    if not all(class_counts):
        raise Refusal(
            f"loss.class_weights={BALANCED}: a class has no training image ({list(class_counts)}): give a list"
        )
    return [sum(class_counts) / (len(class_counts) * count) for count in class_counts]


def weight_of_each(targets_B: torch.Tensor, weights_K: Sequence[float]) -> torch.Tensor:
    """Return the weight of each image, (B,); 1 where a class has none.

    It is computed from numbers, not looked up in a tensor, so that a step that is being recorded on a GPU copies
    nothing from the host.
    """
    weights_B = targets_B.new_ones(targets_B.shape)
    for number, weight in enumerate(weights_K):
        weights_B = weights_B.masked_fill(targets_B == number, weight)
    return weights_B

"""The paper's question: Degraded or Normal? Networks have one output (sigmoid) or two (softmax)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dxa_tbs.evaluation.metrics import binary_auc
from dxa_tbs.tasks.task import Loss, Task

if TYPE_CHECKING:  # building a task does not import torch
    import numpy as np
    import torch

CLASS_NAMES = ("Normal", "Degraded")  # in the order of their labels, 0 and 1


def binary_task(*, loss: Loss) -> Task:
    """Return the task with the probability of Degraded as its score."""
    return Task(
        name="binary",
        target="label",
        class_names=CLASS_NAMES,
        num_outputs=1,
        loss=loss,
        score_columns=("score",),
        to_scores=probability_of_degraded,
        metric_name="auc",
        metric=binary_auc,
    )


def probability_of_degraded(logits_NK: torch.Tensor) -> np.ndarray:
    """Return the probability of Degraded, float64 (N,), from its logit or from the logits of both classes."""
    logits = logits_NK.double()
    # The softmax of two logits is the sigmoid of their difference.
    logit = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    return logit.sigmoid().cpu().numpy()

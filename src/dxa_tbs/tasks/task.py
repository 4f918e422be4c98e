"""A task as a value: training, splits and augmented copies know a task, never the names of its classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # a task is known before torch is needed
    import numpy as np
    import torch

Loss: TypeAlias = "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]"


@dataclass(frozen=True)
class Task:
    """A question to a network, and how its answers are judged.

    Attributes:
        target: the column of the cohort's table that is learnt; of classes their numbers, from 0.
        class_names: in the order of their numbers; empty where values are asked.
        num_outputs: the fewest that will do; a network with one output per class has as many as there are classes.
        loss: the mean over images, from outputs (B, K) and targets, float32 (B,).
        score_columns: columns of predictions.csv.
        to_scores: outputs (N, K) to scores, float64 (N,) or, for several columns, (N, S).
        figure_name: of the figure that the history shows beside the loss: auc.
        figure: computes it from targets (N,) and scores.
    """

    name: str
    target: str
    class_names: tuple[str, ...]
    num_outputs: int
    loss: Loss
    score_columns: tuple[str, ...]
    to_scores: Callable[[torch.Tensor], np.ndarray]
    figure_name: str
    figure: Callable[[np.ndarray, np.ndarray], float]

    def outputs_of(self, *, one_output_per_class: bool) -> int:
        """Return how many outputs a network for this task has."""
        return len(self.class_names) or self.num_outputs if one_output_per_class else self.num_outputs

"""A task as a value: other modules use a task only through its attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # building a task does not import torch
    import numpy as np
    import torch

Loss: TypeAlias = "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]"


@dataclass(frozen=True)
class Task:
    """What a network predicts, and how its predictions are judged.

    Attributes:
        target: the column of the cohort's table to predict; classes are numbered from 0.
        class_names: in the order of their numbers; empty for a regression.
        num_outputs: the smallest sufficient number of outputs; a network with one output per class has one for each.
        loss: takes outputs (B, K) and targets, float32 (B,); returns the mean over images.
        score_columns: the score columns of predictions.csv.
        to_scores: converts outputs (N, K) to scores, float64 (N,) or, for several columns, (N, S).
        metric_name: name of the metric that the history shows beside the loss, such as auc.
        metric: computes it from targets (N,) and scores.
    """

    name: str
    target: str
    class_names: tuple[str, ...]
    num_outputs: int
    loss: Loss
    score_columns: tuple[str, ...]
    to_scores: Callable[[torch.Tensor], np.ndarray]
    metric_name: str
    metric: Callable[[np.ndarray, np.ndarray], float]

    def __post_init__(self) -> None:
        is_enough = self.num_outputs == len(self.class_names) or (self.num_outputs, len(self.class_names)) == (1, 2)
        assert is_enough or not self.class_names, "one output per class, or a single one for two classes"

    def outputs_of(self, *, one_output_per_class: bool) -> int:
        """Return the number of outputs of a network for this task."""
        return len(self.class_names) or self.num_outputs if one_output_per_class else self.num_outputs

"""Two tasks: three classes, and regression of the TBS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dxa_tbs.config.kinds import Kind, register_kind
from dxa_tbs.config.schema import TaskConfig
from dxa_tbs.tasks.task import Loss, Task


@dataclass
class ThreeClassesConfig(TaskConfig):
    pass


@dataclass
class RegressionConfig(TaskConfig):
    pass


def three_classes(*, loss: Loss) -> Task:
    return Task(
        name="three_classes",
        target="label",
        class_names=("Low", "Middle", "High"),
        num_outputs=3,
        loss=loss,
        score_columns=("score_low", "score_middle", "score_high"),
        to_scores=lambda outputs_NK: outputs_NK.double().softmax(dim=1).cpu().numpy(),
        metric_name="accuracy",
        metric=lambda targets, scores: float((scores.argmax(axis=1) == targets).mean()),
    )


def regression(*, loss: Loss) -> Task:
    return Task(
        name="regression",
        target="tbs",
        class_names=(),
        num_outputs=1,
        loss=loss,
        score_columns=("predicted_tbs",),
        to_scores=lambda outputs_NK: outputs_NK[:, 0].double().cpu().numpy(),
        metric_name="r",
        metric=correlation,
    )


def correlation(targets: np.ndarray, scores: np.ndarray) -> float:
    return float(torch.corrcoef(torch.tensor(np.stack([targets, scores])))[0, 1])


register_kind("task", "three_classes", Kind(ThreeClassesConfig, "toys.tasks:three_classes"))
register_kind("task", "regression", Kind(RegressionConfig, "toys.tasks:regression"))

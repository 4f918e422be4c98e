"""Build the configured task with its loss, and check that the other settings suit it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dxa_tbs.config.kinds import function_of, kind_of, own_settings
from dxa_tbs.config.schema import Config, CustomLossConfig, LossConfig
from dxa_tbs.errors import Refusal
from dxa_tbs.tasks.task import Loss, Task

AUGMENTED_CLASSES = 2  # conf/augmentation has a number of copies for each of two classes


def build_task(config: Config, *, class_counts: Sequence[int] | None = None) -> Task:
    """Return the configured task.

    Args:
        class_counts: number of training images of each class, for a loss that asks for it; None: not known yet.

    Raises:
        Refusal: the loss, the sampling or the augmentation does not suit it.
    """
    task: Task = function_of("task", config.task)(
        loss=build_loss(config.loss, class_counts), **own_settings(config.task)
    )
    for group, section in (("loss", config.loss), ("sampling", config.sampling)):
        if kind_of(group, section).needs_classes and not task.class_names:
            raise Refusal(
                f"{group}={section.name}: needs classes, and task={task.name} has none: choose another {group}"
            )
    weights = getattr(config.loss, "class_weights", None)
    if isinstance(weights, list) and len(weights) != len(task.class_names):
        raise Refusal(
            f"loss.class_weights={weights}: task={task.name} has {len(task.class_names)} classes: give one number for "
            f"each of {', '.join(task.class_names)}"
        )
    copies = config.augmentation.copies_per_normal, config.augmentation.copies_per_degraded
    if any(copies) and len(task.class_names) != AUGMENTED_CLASSES:
        raise Refusal(
            f"augmentation={config.augmentation.name}: sets the copies of {AUGMENTED_CLASSES} classes, and "
            f"task={task.name} has {len(task.class_names)}: use augmentation=none"
        )
    return task


def build_loss(section: LossConfig, class_counts: Sequence[int] | None = None) -> Loss:
    """Return the loss as a function of outputs and targets; code of the user's own is imported at its first call."""
    function, settings = function_of("loss", section), own_settings(section)
    if class_counts is not None and asks_for_counts(section):
        settings["class_counts"] = class_counts
    if isinstance(section, CustomLossConfig):
        loss: Loss = function(**settings)
        return loss
    return functools.partial(function, **settings)


def asks_for_counts(section: LossConfig) -> bool:
    """Return whether a loss depends on the number of training images of each class."""
    return "class_counts" in inspect.signature(function_of("loss", section)).parameters


def with_class_counts(task: Task, config: Config, targets_N: np.ndarray) -> Task:
    """Return the task with a loss that knows the number of training images of each class, if it asks for that.

    Args:
        targets_N: of the training images, with their copies.
    """
    if not asks_for_counts(config.loss):
        return task
    counts = np.bincount(targets_N.astype(int), minlength=len(task.class_names)).tolist()
    return build_task(config, class_counts=counts)


def check_targets(cohort: pd.DataFrame, task: Task) -> None:
    """Refuse a cohort that does not say what the task asks, or that has other classes.

    Raises:
        Refusal: names the column.
    """
    targets = cohort[task.target]
    if num_without := int(targets.isna().sum()):
        raise Refusal(f"task={task.name}: {num_without} of {len(cohort)} images have no {task.target}: leave them out")
    if task.class_names and not targets.isin(range(len(task.class_names))).all():
        odd = targets[~targets.isin(range(len(task.class_names)))].iloc[0]
        raise Refusal(f"task={task.name}: a label is {odd}, and its classes are {', '.join(task.class_names)}")

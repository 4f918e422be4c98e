"""Build the configured task with its loss, and check that the other settings suit it."""

from __future__ import annotations

import functools

import pandas as pd

from dxa_tbs.config.kinds import function_of, kind_of, own_settings
from dxa_tbs.config.schema import Config
from dxa_tbs.errors import Refusal
from dxa_tbs.tasks.task import Task

AUGMENTED_CLASSES = 2  # conf/augmentation has a number of copies for each of two classes


def build_task(config: Config) -> Task:
    """Return the configured task.

    Raises:
        Refusal: the loss or the augmentation does not suit it.
    """
    loss = functools.partial(function_of("loss", config.loss), **own_settings(config.loss))
    task: Task = function_of("task", config.task)(loss=loss, **own_settings(config.task))
    if kind_of("loss", config.loss).needs_classes and not task.class_names:
        raise Refusal(f"loss={config.loss.name}: needs classes, and task={task.name} has none: choose another loss")
    copies = config.augmentation.copies_per_normal, config.augmentation.copies_per_degraded
    if any(copies) and len(task.class_names) != AUGMENTED_CLASSES:
        raise Refusal(
            f"augmentation={config.augmentation.name}: sets the copies of {AUGMENTED_CLASSES} classes, and "
            f"task={task.name} has {len(task.class_names)}: use augmentation=none"
        )
    return task


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

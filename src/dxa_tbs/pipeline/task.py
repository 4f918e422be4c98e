"""Build the configured task with its loss."""

from __future__ import annotations

import functools

from dxa_tbs.config.kinds import function_of, own_settings
from dxa_tbs.config.schema import Config
from dxa_tbs.tasks.task import Task


def build_task(config: Config) -> Task:
    """Return the configured task."""
    loss = functools.partial(function_of("loss", config.loss), **own_settings(config.loss))
    task: Task = function_of("task", config.task)(loss=loss, **own_settings(config.task))
    return task

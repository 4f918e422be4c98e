"""Checks of the configuration that types cannot express: ranges, and settings that exclude each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from dxa_tbs.config.checks.augmentation import augmentation_problems
from dxa_tbs.config.checks.data import dataset_problems, split_problems
from dxa_tbs.config.checks.input import input_problems
from dxa_tbs.config.checks.loss import loss_problems
from dxa_tbs.config.checks.model import model_problems
from dxa_tbs.config.checks.ranges import not_finite
from dxa_tbs.config.checks.schedule import schedule_problems
from dxa_tbs.config.checks.tracker import tracker_problems
from dxa_tbs.config.checks.training import training_problems
from dxa_tbs.config.schema import Config
from dxa_tbs.errors import Refusal

NAMED_GROUPS = (  # see check_names
    *("task", "loss", "model", "approach", "split", "channels", "augmentation"),
    *("sampling", "optimizer", "schedule", "tracker"),
)


def check_config(config: Config) -> None:
    """Refuse a configuration that cannot run, before any data is read.

    Raises:
        Refusal: a value is wrong; the message names the first such key, its value and the way out.
    """
    problem = next(_problems(config), None)
    if problem is not None:
        raise Refusal(problem)


def check_names(names: Mapping[str, str | None], choices: Mapping[str, str]) -> None:
    """Refuse a group whose `name` differs from the chosen option: folders and tables use this name.

    Args:
        names: the name in the settings of each group; None if they have no name.
        choices: the chosen option of each group.

    Raises:
        Refusal: the name is missing or differs; the message names the group, the name and the option.
    """
    for group, name in names.items():
        option = choices[group]
        if name is None:
            raise Refusal(f"{group}.name is not set by {group}={option}: add name: {option} to your own file")
        if name != option:
            raise Refusal(
                f"{group}.name={name}: must equal the option {group}={option}: write name: {option} in your own file"
            )


def _problems(config: Config) -> Iterator[str]:
    yield from not_finite(dataclasses.asdict(config))
    yield from input_problems(config)
    yield from model_problems(config)
    yield from training_problems(config)
    yield from loss_problems(config)
    yield from schedule_problems(config)
    yield from dataset_problems(config)
    yield from split_problems(config)
    yield from augmentation_problems(config)
    yield from tracker_problems(config)

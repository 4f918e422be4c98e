"""Optimizers and schedules of the user's own, or of torch, given by import path."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import import_named, refusing_failures
from dxa_tbs.training.schedules import Schedule

OPTIMIZER_KEY, SCHEDULE_KEY = "optimizer.factory", "schedule.factory"
RATES = ("params", "lr", "initial_lr")  # what a schedule may change in a group of parameters


def custom_optimizer(
    parameters: Iterable[torch.Tensor],
    *,
    lr: float,
    factory: str,
    settings: Mapping[str, Any],
    capturable: bool = False,
    fused: bool | None = None,
) -> Optimizer:
    """Return the optimizer that factory(parameters, lr=lr, **settings) returns.

    Args:
        factory: package.module:function or class.
        capturable, fused: as for torch's optimizers; passed on to a factory that has these arguments.

    Raises:
        Refusal: it fails, returns something else, leaves out parameters, or has another learning rate.
    """
    build, parameters = import_named(factory, key=OPTIMIZER_KEY), list(parameters)
    how = {"capturable": capturable} | ({} if "foreach" in settings else {"fused": fused})
    with refusing_failures(factory, key=OPTIMIZER_KEY):
        optimizer = build(parameters, lr=lr, **(_known(build, how) | dict(settings)))
    if not isinstance(optimizer, Optimizer):
        raise Refusal(
            f"{OPTIMIZER_KEY}={factory}: returns {type(optimizer).__name__}: return an optimizer of torch.optim"
        )
    updated = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if lacking := sum(id(parameter) not in updated for parameter in parameters):
        raise Refusal(f"{OPTIMIZER_KEY}={factory}: leaves out {lacking} of {len(parameters)} parameters: give it all")
    if not any(float(group["lr"]) == lr for group in optimizer.param_groups):
        raise Refusal(
            f"{OPTIMIZER_KEY}={factory}: does not use optimizer.lr={lr}: pass on the lr that it is called with"
        )
    return optimizer


def custom_schedule(optimizer: Optimizer, *, epochs: int, factory: str, settings: Mapping[str, Any]) -> Schedule:
    """Return the schedule of the scheduler that factory(optimizer, epochs=epochs, **settings) returns.

    Args:
        factory: package.module:function, or a class of torch.optim.lr_scheduler; it is given `epochs` if it has that
            argument. The scheduler's step() is called after each epoch, with the watched loss if it is a
            ReduceLROnPlateau.

    Raises:
        Refusal: it fails, returns something else, or changes more than learning rates. A step that is recorded on a GPU
            would not follow other changes, such as those of momentum.
    """
    build = import_named(factory, key=SCHEDULE_KEY)
    before = [{key: value for key, value in group.items() if key not in RATES} for group in optimizer.param_groups]
    with refusing_failures(factory, key=SCHEDULE_KEY):
        scheduler = build(optimizer, **(_known(build, {"epochs": epochs}) | dict(settings)))
    if not isinstance(scheduler, LRScheduler):
        got = type(scheduler).__name__
        raise Refusal(f"{SCHEDULE_KEY}={factory}: returns {got}: return a scheduler of torch.optim.lr_scheduler")

    def schedule(watched_loss: float) -> None:
        with refusing_failures(factory, key=SCHEDULE_KEY):
            scheduler.step(watched_loss) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
        for group, others in zip(optimizer.param_groups, before, strict=True):
            if changed := [key for key, value in others.items() if group[key] != value]:
                raise Refusal(f"{SCHEDULE_KEY}={factory}: changes {changed[0]}: it may change the learning rate only")

    return schedule


def _known(build: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the arguments that a function or class has."""
    known = inspect.signature(build).parameters
    return {name: value for name, value in arguments.items() if name in known}

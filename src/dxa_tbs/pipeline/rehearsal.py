"""Try the user's own loss, optimizer and schedule on a few numbers, before any image is decoded."""

from __future__ import annotations

import math

import torch
from torch import nn

from dxa_tbs.config.kinds import function_of, own_settings
from dxa_tbs.config.schema import Config, CustomLossConfig, CustomOptimizerConfig, CustomScheduleConfig
from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import refusing_failures
from dxa_tbs.pipeline.optimizer import build_schedule, optimizer_settings
from dxa_tbs.tasks.losses.custom import try_loss
from dxa_tbs.tasks.task import Task
from dxa_tbs.training.custom import OPTIMIZER_KEY, SCHEDULE_KEY
from dxa_tbs.training.step import build_optimizer

NUM_IMAGES = 8


def rehearse(config: Config, task: Task, *, num_outputs: int, device: torch.device) -> None:
    """Refuse the user's own code if training with it would fail; torch's random generators are not moved.

    Raises:
        Refusal: names the setting, the function and what is wrong.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if isinstance(config.loss, CustomLossConfig):
            _try_loss(config, config.loss.factory, task, num_outputs=num_outputs, device=device)
        if isinstance(config.optimizer, CustomOptimizerConfig) or isinstance(config.schedule, CustomScheduleConfig):
            _try_optimizer_and_schedule(config, device)


def _try_loss(config: Config, factory: str, task: Task, *, num_outputs: int, device: torch.device) -> None:
    draws = torch.Generator().manual_seed(0)
    outputs_BK = torch.randn(NUM_IMAGES, num_outputs, generator=draws).to(device)
    numbers_B = torch.arange(NUM_IMAGES)
    is_regression = not task.class_names
    # the halves differ in their shares of the classes: a loss that mixes images up is then not the mean of its parts
    classes_B = (numbers_B * len(task.class_names) // NUM_IMAGES).roll(1)
    targets_B = 1 + numbers_B / NUM_IMAGES if is_regression else classes_B
    is_split = config.trainer.micro_batch_size is not None
    try_loss(task.loss, outputs_BK, targets_B.float().to(device), factory=factory, is_split=is_split)


def _try_optimizer_and_schedule(config: Config, device: torch.device) -> None:
    """Make one step with a few weights, and go through all epochs of the schedule."""
    model = nn.Linear(2, 1, device=device)
    settings = optimizer_settings(config)
    optimizer = build_optimizer(model, function_of("optimizer", config.optimizer), **settings)
    schedule = build_schedule(optimizer, config)
    with refusing_failures(settings.get("factory", ""), key=OPTIMIZER_KEY):
        model(torch.ones(1, 2, device=device)).sum().backward()
        optimizer.step()
    for epoch in range(1, config.trainer.epochs + 1):
        for rate in (float(group["lr"]) for group in optimizer.param_groups):
            if not (math.isfinite(rate) and rate >= 0):
                raise Refusal(
                    f"{SCHEDULE_KEY}={own_settings(config.schedule).get('factory')}: sets a learning rate of {rate} "
                    f"for epoch {epoch}: it must be at least 0"
                )
        if epoch < config.trainer.epochs:
            schedule(1.0)

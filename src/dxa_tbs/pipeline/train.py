"""The verb train: train a network on prepared images. It receives train and val only, never test images."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from dxa_tbs.config.choices import Precision, TestEpoch, Watched, When
from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.kinds import function_of, own_settings
from dxa_tbs.config.schema import Config, ConstantConfig, HeadConfig
from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import named_code
from dxa_tbs.pipeline.augmentation import build_operations, new_images
from dxa_tbs.pipeline.clock import Clock, watch_other_load
from dxa_tbs.pipeline.learner import Inputs, Learner, build_learner, make_inputs, place, take_samples
from dxa_tbs.pipeline.network import Network, build_network, moves_frozen_bn
from dxa_tbs.pipeline.optimizer import build_schedule, optimizer_settings
from dxa_tbs.pipeline.prepare import ImageSet
from dxa_tbs.pipeline.task import with_class_counts
from dxa_tbs.progress import OnProgress, Progress, ignore_progress
from dxa_tbs.training.averaging import with_average
from dxa_tbs.training.batches import Samples
from dxa_tbs.training.changing import ChangingSamples
from dxa_tbs.training.checkpoint import with_versions
from dxa_tbs.training.device import peak_memory_mib, reset_peak_gpu_memory, synchronise
from dxa_tbs.training.fit import Fitted, fit
from dxa_tbs.training.memory import TOO_LITTLE_MEMORY, refusing_for_memory
from dxa_tbs.training.modes import enter_training, trains_batchnorm
from dxa_tbs.training.process import set_up_process
from dxa_tbs.training.step import (
    Step,
    batch_sizes,
    build_optimizer,
    build_step,
    can_be_recorded,
    record_if_possible,
)
from dxa_tbs.training.timing import ten_epochs

log = logging.getLogger("dxa_tbs.experiment")

NOT_RECORDED = {"model.factory", "loss.factory"}  # a graph would repeat the decisions that the code made once


@dataclass(frozen=True)
class Trained:
    """A network that can be tested, and the record of its training.

    Attributes:
        learner: contains the weights to test.
        inputs: of the training and validation images; None: they were not loaded.
        history: one line per epoch (history.csv).
        facts: epochs, tested_epoch and stopped_by.
        timing: see `training.timing.ten_epochs`.
    """

    network: Network
    learner: Learner
    inputs: Inputs | None
    history: pd.DataFrame
    facts: Mapping[str, Any]
    timing: Mapping[str, Any]


def train(
    development: ImageSet,
    config: Config,
    *,
    network: Network | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Trained:
    """Train a network on the images of train, watched on those of val, both with their copies.

    Args:
        development: train and val, as `prepare` returns them.
        network: trained in place; None: build it as configured.
        clock: of the run; measures its parts.

    Raises:
        Refusal: the weights are not available, there is too little memory, or the loss is NaN or infinite in the first
            epoch.
    """
    if config.evaluate is not None:
        raise Refusal(f"evaluate={config.evaluate}: the weights of that run are tested, not trained: use dxa_tbs.train")
    clock = clock or Clock()
    table = development.table
    with clock.part("prepare_s"):
        network = network or new_network(config, on_progress=on_progress)
        learner = new_learner(network, config)
        inputs = make_inputs(learner, development.pixels, table["sha256"].tolist(), on_progress=on_progress)
        is_original = (table["origin"] == "").to_numpy()
        is_val = (table["split"] == "val").to_numpy()
        is_watched = is_val & (is_original | (config.trainer.watched is Watched.all))
        inputs_M, targets = place(learner, inputs), table[network.task.target].to_numpy()
        rows = np.flatnonzero(~is_val), np.flatnonzero(is_watched)
        network = dataclasses.replace(network, task=with_class_counts(network.task, config, targets[rows[0]]))
        training, watched = (take_samples(learner, inputs_M, chosen, targets[chosen]) for chosen in rows)
        if config.augmentation.when is When.epoch:
            training = _changing(training, development, config)
    data_s = clock.since_start_s() - clock.parts_s["prepare_s"]
    with clock.part("compile_s"):
        step = prepare_step(network, learner, training, config)
    other_load, epoch_ends_s = watch_other_load(), list[float]()

    def watch(progress: Progress) -> None:
        if progress.epoch:
            epoch_ends_s.append(clock.since_start_s())
        on_progress(progress)

    fitted = _fit(network, learner, step, training, watched, is_original[rows[1]], config, watch)
    if fitted.stopped_by == "nan":
        log.warning(
            "the loss is NaN or infinite after epoch %d: the weights of epoch %d are tested",
            len(fitted.history),
            fitted.tested_epoch,
        )
    parts_s = {"data_s": data_s, **clock.parts_s}
    timing = ten_epochs(fitted.history, num_train=len(training), parts_s=parts_s, epoch_ends_s=epoch_ends_s)
    timing |= {"features_from_cache": inputs.from_cache, "cores_busy_elsewhere": other_load()}
    timing |= peak_memory_mib(learner.device)
    facts = {"epochs": len(fitted.history), "stopped_by": fitted.stopped_by, "tested_epoch": fitted.tested_epoch}
    return Trained(network, learner, inputs, pd.DataFrame(fitted.history), facts, timing)


def _changing(training: Samples, development: ImageSet, config: Config) -> ChangingSamples:
    """Return the training images, changed anew in each epoch."""
    operations = build_operations(config.augmentation)
    change = new_images(development.table, development.pixels, operations, seed=config.seed)
    return ChangingSamples(training.inputs_M, training.rows_N.cpu(), training.targets_N, change)


def new_network(config: Config, *, trained: Path | None = None, on_progress: OnProgress = ignore_progress) -> Network:
    """Set up this process for a run, and return the run's network.

    Args:
        trained: model.pt of a finished run; None: initial weights, as configured.

    Raises:
        Refusal: the device or the weights are not available, or there is too little memory.
    """
    device, precision = set_up_process(config.trainer.device, config.trainer.precision, seed=config.seed)
    network = build_network(config, device=device, precision=precision, trained=trained, on_progress=on_progress)
    reset_peak_gpu_memory(device)
    return network


def new_learner(network: Network, config: Config) -> Learner:
    """Return the part of the network that is trained, as configured."""
    caches_features = isinstance(config.approach, HeadConfig) and config.approach.cache_features
    return build_learner(network, caches_features=caches_features, cache_dir=Path(config.cache_dir))


def prepare_step(network: Network, learner: Learner, training: Samples, config: Config) -> Step:
    """Return the training step, recorded as CUDA graphs on a GPU, with its schedule and the average of the weights."""
    trainer = config.trainer
    is_recorded = learner.device.type == "cuda" and learner.precision is not Precision.fp16  # its scaler needs the host
    if is_recorded and (own := NOT_RECORDED & named_code(to_plain(config)).keys()):
        log.info("%s: a step with code of your own is not recorded as a CUDA graph and is slower", min(own))
        is_recorded = False
    is_scheduled = not isinstance(config.schedule, ConstantConfig)
    with refusing_for_memory(too_little_memory(learner.model, config)):
        optimizer = build_optimizer(
            learner.model,
            function_of("optimizer", config.optimizer),
            is_recorded=is_recorded,
            is_scheduled=is_scheduled,
            **optimizer_settings(config),
        )
        step = build_step(
            learner.model,
            optimizer,
            loss=network.task.loss,
            to_input=learner.to_input,
            device=learner.device,
            micro_batch_size=trainer.micro_batch_size,
            precision=learner.precision,
            schedule=build_schedule(optimizer, config),
        )
        if is_recorded and not can_be_recorded(optimizer):
            log.warning(
                "optimizer=%s: the step of %s cannot be repeated by a CUDA graph: it is not recorded and is slower",
                config.optimizer.name,
                type(optimizer).__name__,
            )
        elif is_recorded:
            enter_training(learner.model, moves_frozen_bn=moves_frozen_bn(config.approach))
            sizes, schedule = batch_sizes(len(training), trainer.batch_size), config.schedule.name
            step = record_if_possible(step, learner.model, training, sizes, schedule=schedule if is_scheduled else None)
        if trainer.ema_decay is not None:
            step = with_average(step, learner.model, decay=trainer.ema_decay)
    synchronise(learner.device)
    return step


def _fit(
    network: Network,
    learner: Learner,
    step: Step,
    training: Samples,
    watched: Samples,
    is_original_N: np.ndarray,
    config: Config,
    on_progress: OnProgress,
) -> Fitted:
    """Fit the learner, and load the weights to test into it."""
    trainer = config.trainer
    with refusing_for_memory(too_little_memory(learner.model, config)):
        fitted = fit(
            learner.model,
            training,
            watched,
            is_original_N=is_original_N,
            step=step,
            orders=_orders(training.targets_N, config),
            judge=network.task,
            to_input=learner.to_input,
            batch_size=trainer.batch_size,
            moves_frozen_bn=moves_frozen_bn(config.approach),
            precision=learner.precision,
            epochs=trainer.epochs,
            patience=trainer.patience,
            keeps_last=trainer.test_epoch is TestEpoch.last,
            on_progress=on_progress,
        )
    learner.model.load_state_dict(with_versions(fitted.state, learner.model), strict=False)
    return fitted


def _orders(targets_N: torch.Tensor, config: Config) -> Iterator[torch.Tensor]:
    """Return the order of the training images in each epoch, as configured."""
    orders: Iterator[torch.Tensor] = function_of("sampling", config.sampling)(
        targets_N, seed=config.seed, **own_settings(config.sampling)
    )
    return orders


def too_little_memory(model: nn.Module, config: Config) -> str:
    """Return the message for a batch that does not fit in memory: use micro-batches if they are exact."""
    size = config.trainer.micro_batch_size or config.trainer.batch_size
    text = f"{TOO_LITTLE_MEMORY} for {size} images at once: "
    if size == 1:
        return text + "use trainer.device=cpu"
    if trains_batchnorm(model, moves_frozen_bn=moves_frozen_bn(config.approach)):
        return text + (
            f"give trainer.batch_size={size // 2}, which is another protocol (micro-batches are not exact with "
            "BatchNorm), or trainer.device=cpu"
        )
    return text + f"give trainer.micro_batch_size={size // 2} (the training is the same)"

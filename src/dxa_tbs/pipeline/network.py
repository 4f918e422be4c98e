"""Build the network of a run, load its weights, and move it to its device in a precision that works there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dxa_tbs.config.choices import FrozenBatchNorm, Precision
from dxa_tbs.config.kinds import function_of, kind_of, own_settings, resolve
from dxa_tbs.config.schema import ApproachConfig, Config, HeadConfig
from dxa_tbs.errors import Refusal
from dxa_tbs.models.adhoc import INPUT_PX
from dxa_tbs.models.inspection import count_parameters, describe_layers, trains_batchnorm
from dxa_tbs.models.pretrained import freeze_backbone
from dxa_tbs.pipeline.rehearsal import rehearse
from dxa_tbs.pipeline.task import build_task
from dxa_tbs.progress import OnProgress, ignore_progress
from dxa_tbs.tasks.task import Task
from dxa_tbs.training.batches import Normalisation, build_normalisation
from dxa_tbs.training.checkpoint import load_weights
from dxa_tbs.training.memory import TOO_LITTLE_MEMORY, refusing_for_memory
from dxa_tbs.training.precision import is_channels_last
from dxa_tbs.training.step_check import disagreement

log = logging.getLogger("dxa_tbs.network")


@dataclass(frozen=True)
class Network:
    """A network on its device, with its task and the origin of its weights.

    Attributes:
        weights: `initial` (imagenet, none, or a path), and the hashes of the files that were read.
        is_initialised_as_configured: False for an ImageNet network that was initialised at random, not pretrained.
    """

    model: nn.Module
    task: Task
    normalise: Normalisation
    weights: dict[str, Any]
    is_initialised_as_configured: bool
    precision: Precision

    @property
    def device(self) -> torch.device:
        return self.normalise.scale_C.device

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """Return weights and buffers on the CPU, so that their file can be read without a GPU."""
        return {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}

    @property
    def layers(self) -> list[dict[str, object]]:
        image = self.normalise.to_input(torch.zeros(1, INPUT_PX, INPUT_PX, dtype=torch.uint8, device=self.device))
        return describe_layers(self.model, image)

    @property
    def trainable_parameters(self) -> int:
        return count_parameters(self.model)


def build_network(
    config: Config,
    *,
    device: torch.device,
    precision: Precision,
    trained: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Network:
    """Return the network on its device: initialised from torch's global generator, or with trained weights.

    Args:
        device, precision: from `training.process.set_up_process`; if trainer.precision is auto, fp32 replaces a
            precision in which the network computes wrong results.
        trained: model.pt of a finished run; None: initial weights, as configured in `model`.

    Raises:
        Refusal: the weights are not available, the GPU has too little memory, micro-batches would not be exact, or code
            of the user's own that the training needs does not work.
    """
    task, kind = build_task(config), kind_of("model", config.model)
    num_outputs = task.outputs_of(one_output_per_class=kind.one_output_per_class)
    if trained is None:
        rehearse(config, task, num_outputs=num_outputs, device=device)
    model: nn.Module = function_of("model", config.model)(num_outputs=num_outputs, **own_settings(config.model))
    weights: dict[str, Any] = {"initial": config.model.weights if kind.load_weights else None}
    is_initialised_as_configured = weights["initial"] != "none"
    if trained is not None:
        load_weights(model, trained)
        weights["trained_in"] = str(trained.parent)
    elif kind.load_weights and is_initialised_as_configured:
        load = resolve(kind.load_weights)
        settings = own_settings(config.model)
        weights["initial_sha256"] = load(model, config.model.weights, on_progress=on_progress, **settings)
    if not is_initialised_as_configured:
        log.warning("model.weights=none: random initialisation, nothing is pretrained")
    if isinstance(config.approach, HeadConfig):
        freeze_backbone(model)
    _check_micro_batches(config, model)
    with refusing_for_memory(f"{TOO_LITTLE_MEMORY} for {config.model.name}: use trainer.device=cpu"):
        normalise = _place(model, config, device, precision)
        if trained is None:
            checked = _checked(precision, config.trainer.precision, model, task, normalise)
            if checked is not precision:
                precision, normalise = checked, _place(model, config, device, checked)
    return Network(model, task, normalise, weights, is_initialised_as_configured, precision)


def moves_frozen_bn(approach: ApproachConfig) -> bool:
    """Return whether BatchNorm layers with frozen weights still update their statistics in training."""
    return isinstance(approach, HeadConfig) and approach.frozen_bn is FrozenBatchNorm.train


def _check_micro_batches(config: Config, model: nn.Module) -> None:
    size = config.trainer.micro_batch_size
    if size is not None and trains_batchnorm(model, moves_frozen_bn=moves_frozen_bn(config.approach)):
        raise Refusal(
            f"trainer.micro_batch_size={size}: {config.model.name} has BatchNorm, whose statistics depend on the "
            "images computed at once: give a smaller trainer.batch_size instead, which is another protocol"
        )


def _place(model: nn.Module, config: Config, device: torch.device, precision: Precision) -> Normalisation:
    """Move the network to the device, in the faster memory format there; return the matching normalisation."""
    is_last = is_channels_last(device, precision)
    model.to(device).to(memory_format=torch.channels_last if is_last else torch.contiguous_format)
    return build_normalisation(config.model.input_mean, config.model.input_std, device, is_channels_last=is_last)


def _checked(
    precision: Precision, asked: Precision, model: nn.Module, task: Task, normalise: Normalisation
) -> Precision:
    """Return the precision if one step in it agrees with fp32; with trainer.precision=auto, otherwise fp32."""
    wrong = None if precision is Precision.fp32 else disagreement(model, normalise, precision, loss=task.loss)
    if wrong is None:
        return precision
    if asked is not Precision.auto:
        raise Refusal(f"trainer.precision={asked.value}: not usable here: {wrong}: use fp32")
    log.warning("fp32, not %s: one step in %s differs too much: %s", precision.value, precision.value, wrong)
    return Precision.fp32

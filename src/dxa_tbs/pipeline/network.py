"""Build the network of a run, load its weights, and move it to its device in a precision that works there."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dxa_tbs.config.choices import FrozenBatchNorm, Precision
from dxa_tbs.config.kinds import function_of, kind_of, own_settings, resolve
from dxa_tbs.config.schema import ApproachConfig, Config, CustomConfig, HeadConfig
from dxa_tbs.errors import Refusal
from dxa_tbs.models.chain import freeze_backbone, has_backbone_and_head
from dxa_tbs.models.inspection import count_parameters, describe_layers
from dxa_tbs.pipeline.rehearsal import rehearse
from dxa_tbs.pipeline.task import build_task
from dxa_tbs.progress import OnProgress, ignore_progress
from dxa_tbs.tasks.task import Task
from dxa_tbs.training.batches import Normalisation, build_normalisation
from dxa_tbs.training.checkpoint import load_weights
from dxa_tbs.training.memory import TOO_LITTLE_MEMORY, refusing_for_memory
from dxa_tbs.training.modes import trains_batchnorm
from dxa_tbs.training.precision import is_channels_last
from dxa_tbs.training.step_check import disagreement

log = logging.getLogger("dxa_tbs.network")


@dataclass(frozen=True)
class Network:
    """A network on its device, with its task and the origin of its weights.

    Attributes:
        layers: see `models.inspection.describe_layers`.
        weights: `initial` (imagenet, none, or a path), and the hashes of the files that were read.
        is_initialised_as_configured: False for an ImageNet network that was initialised at random, not pretrained.
    """

    model: nn.Module
    task: Task
    normalise: Normalisation
    layers: list[dict[str, object]]
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
    size_px, in_channels = config.preprocessing.size_px, len(config.model.input_mean)
    num_outputs = task.outputs_of(one_output_per_class=kind.one_output_per_class)
    if trained is None:
        rehearse(config, task, num_outputs=num_outputs, device=device)
    model: nn.Module = function_of("model", config.model)(
        num_outputs=num_outputs, in_channels=in_channels, size_px=size_px, **own_settings(config.model)
    )
    weights: dict[str, Any] = {"initial": config.model.weights if kind.load_weights else None}
    is_initialised_as_configured = weights["initial"] != "none"
    if trained is not None:
        load_weights(model, trained)
        weights["trained_in"] = str(trained.parent)
    elif kind.load_weights and is_initialised_as_configured:
        load = resolve(kind.load_weights)
        settings = own_settings(config.model) | _normalisation_of_grey(config)
        weights["initial_sha256"] = load(model, config.model.weights, on_progress=on_progress, **settings)
    if not is_initialised_as_configured:
        log.warning("model.weights=none: random initialisation, nothing is pretrained")
    if isinstance(config.approach, HeadConfig):
        if isinstance(config.model, CustomConfig) and not has_backbone_and_head(model):
            raise Refusal(
                f"approach=head: {config.model.factory} returns a {type(model).__name__}: it must return an "
                "nn.Sequential of two children called backbone and head"
            )
        freeze_backbone(model)
    _check_micro_batches(config, model)
    with refusing_for_memory(f"{TOO_LITTLE_MEMORY} for {config.model.name}: use trainer.device=cpu"):
        normalise = _place(model, config, device, precision)
        layers = _inspect(model, normalise, size_px=size_px, num_outputs=num_outputs, name=config.model.name)
        if trained is None:
            checked = _checked(precision, config, model, task, normalise)
            if checked is not precision:
                precision, normalise = checked, _place(model, config, device, checked)
    return Network(model, task, normalise, layers, weights, is_initialised_as_configured, precision)


def _normalisation_of_grey(config: Config) -> dict[str, Any]:
    """Return mean and standard deviation of each channel if all channels are the grey level, as weights expect."""
    is_grey = not kind_of("channels", config.channels).function
    mean, std = config.model.input_mean, config.model.input_std
    return {"input_mean": mean if is_grey else None, "input_std": std if is_grey else None}


def _inspect(
    model: nn.Module, normalise: Normalisation, *, size_px: int, num_outputs: int, name: str
) -> list[dict[str, object]]:
    """Return the layers of a network, after passing a black image through it.

    Raises:
        Refusal: the network does not take images of this size, or does not return one row of outputs per image.
    """
    image = torch.zeros(1, size_px, size_px, dtype=torch.uint8, device=normalise.scale_C.device)
    buffers = dict(model.named_buffers())
    try:
        layers, shape = describe_layers(model, normalise.to_input(image))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the network can be the user's own: it can raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Refusal(f"preprocessing.size_px={size_px}: {name} does not take such images ({reason})") from None
    if replaced := [key for key, buffer in model.named_buffers() if buffer is not buffers.get(key)]:
        raise Refusal(f"model={name}: assigns a new tensor to its buffer {replaced[0]}: change the buffer in place")
    if shape != (1, num_outputs):
        raise Refusal(f"model={name}: its output for one image has shape {shape}, not {(1, num_outputs)}")
    return layers


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
    """Move the network to the device, in the faster memory format there; return the matching normalisation.

    Raises:
        Refusal: the channels are not as many as the values of model.input_mean.
    """
    is_own = isinstance(config.model, CustomConfig)  # it may need tensors that are laid out as usual
    is_last = is_channels_last(device, precision) and not is_own
    model.to(device).to(memory_format=torch.channels_last if is_last else torch.contiguous_format)
    name, settings, to_channels = config.channels.name, own_settings(config.channels), None
    if kind_of("channels", config.channels).function:
        to_channels = functools.partial(function_of("channels", config.channels), **settings)
        num_channels = to_channels(torch.zeros(1, 32, 32, device=device)).shape[1]
        if num_channels != len(config.model.input_mean):
            raise Refusal(
                f"channels={name}: makes {num_channels} channels, and model.input_mean has "
                f"{len(config.model.input_mean)} values: give one per channel to model.input_mean and input_std"
            )
    return build_normalisation(
        config.model.input_mean,
        config.model.input_std,
        device,
        is_channels_last=is_last,
        to_channels=to_channels,
        channels=f"{name} {settings}",
    )


def _checked(precision: Precision, config: Config, model: nn.Module, task: Task, normalise: Normalisation) -> Precision:
    """Return the precision if one step in it agrees with fp32; with trainer.precision=auto, otherwise fp32."""
    if precision is Precision.fp32:
        return precision
    asked, size_px = config.trainer.precision, config.preprocessing.size_px
    wrong = disagreement(model, normalise, precision, loss=task.loss, size_px=size_px)
    if wrong is None:
        return precision
    if asked is not Precision.auto:
        raise Refusal(f"trainer.precision={asked.value}: not usable here: {wrong}: use fp32")
    log.warning("fp32, not %s: one step in %s differs too much: %s", precision.value, precision.value, wrong)
    return Precision.fp32

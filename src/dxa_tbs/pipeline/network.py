"""The network of a run: built, given its weights, and put on its device in the precision that holds there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dxa_tbs.config.choices import FrozenBatchNorm, Precision
from dxa_tbs.config.schema import ApproachConfig, HeadConfig, ModelConfig, PretrainedConfig, TrainerConfig
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.models.adhoc import INPUT_PX
from dxa_tbs.models.pretrained import freeze_backbone
from dxa_tbs.models.registry import build_model, count_parameters, describe_layers, trains_batchnorm
from dxa_tbs.models.weights import find_weights, load_backbone
from dxa_tbs.training.batches import Normalisation, build_normalisation
from dxa_tbs.training.checkpoint import load_weights
from dxa_tbs.training.memory import TOO_LITTLE_MEMORY, refusing_for_memory
from dxa_tbs.training.precision import is_channels_last
from dxa_tbs.training.step_check import disagreement

log = logging.getLogger("dxa_tbs.network")


@dataclass(frozen=True)
class Network:
    """A network on its device, and where its weights come from.

    Attributes:
        weights: `initial` (imagenet, none, or a path), and the hashes of the files that were read.
        is_as_meant: False for an ImageNet network that was initialised at random.
    """

    model: nn.Module
    normalise: Normalisation
    weights: dict[str, Any]
    is_as_meant: bool
    precision: Precision

    @property
    def device(self) -> torch.device:
        return self.normalise.scale_C.device

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """Return weights and buffers, on the CPU: a file of them is to be read where there is no GPU."""
        return {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}

    @property
    def layers(self) -> list[dict[str, object]]:
        image = self.normalise.to_input(torch.zeros(1, INPUT_PX, INPUT_PX, dtype=torch.uint8, device=self.device))
        return describe_layers(self.model, image)

    @property
    def trainable_parameters(self) -> int:
        return count_parameters(self.model)


def build_network(
    model: ModelConfig,
    approach: ApproachConfig,
    trainer: TrainerConfig,
    *,
    device: torch.device,
    precision: Precision,
    trained: Path | None,
) -> Network:
    """Return the network on its device: initialised from torch's global generator, or with the weights of a file.

    Args:
        device, precision: from `training.process.set_up_process`; where trainer.precision is auto, a precision in which
            the network goes wrong is replaced by fp32.
        trained: model.pt of a finished run; None: initial weights, as `model` says.

    Raises:
        Refusal: the weights cannot be had, the GPU has no memory for them, or the micro-batches would not be exact.
    """
    initial = getattr(model, "weights", "none")
    path = None
    if isinstance(model, PretrainedConfig) and initial != "none" and trained is None:
        path = find_weights(model.architecture, initial)
    network = build_model(model)
    weights: dict[str, Any] = {"initial": initial if isinstance(model, PretrainedConfig) else None}
    is_as_meant = not isinstance(model, PretrainedConfig) or initial != "none"
    if trained is not None:
        load_weights(network, trained)
        weights["trained_in"] = str(trained.parent)
    elif path is not None:
        load_backbone(network, path)
        weights["initial_sha256"] = sha256_of_file(path)
    if not is_as_meant:
        log.warning("model.weights=none: random initialisation, nothing is pretrained")
    if isinstance(approach, HeadConfig):
        freeze_backbone(network)
    if trainer.micro_batch_size is not None and trains_batchnorm(network, moves_frozen_bn=moves_frozen_bn(approach)):
        raise Refusal(
            f"trainer.micro_batch_size={trainer.micro_batch_size}: {model.name} has BatchNorm, whose statistics are "
            "those of the images at once: give a smaller trainer.batch_size instead, which is another protocol"
        )
    with refusing_for_memory(f"{TOO_LITTLE_MEMORY} for {model.name}: use trainer.device=cpu"):
        normalise = _place(network, model, device, precision)
        if trained is None:
            checked = _checked(precision, trainer.precision, network, normalise)
            if checked is not precision:
                precision, normalise = checked, _place(network, model, device, checked)
    return Network(network, normalise, weights, is_as_meant, precision)


def _place(network: nn.Module, model: ModelConfig, device: torch.device, precision: Precision) -> Normalisation:
    """Move the network to the device, into the memory format that pays there; return the input that goes with it."""
    is_last = is_channels_last(device, precision)
    network.to(device).to(memory_format=torch.channels_last if is_last else torch.contiguous_format)
    return build_normalisation(model.input_mean, model.input_std, device, is_channels_last=is_last)


def _checked(precision: Precision, asked: Precision, network: nn.Module, normalise: Normalisation) -> Precision:
    """Return the precision if the network computes in it what it computes in fp32; `auto` then falls back to that."""
    wrong = None if precision is Precision.fp32 else disagreement(network, normalise, precision)
    if wrong is None:
        return precision
    if asked is not Precision.auto:
        raise Refusal(f"trainer.precision={asked.value}: not usable here: {wrong}: use fp32")
    log.warning("fp32, not %s: in %s one step comes out wrong: %s", precision.value, precision.value, wrong)
    return Precision.fp32


def moves_frozen_bn(approach: ApproachConfig) -> bool:
    return isinstance(approach, HeadConfig) and approach.frozen_bn is FrozenBatchNorm.train

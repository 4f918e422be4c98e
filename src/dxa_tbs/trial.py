"""The part of a run that needs torch: a network with its weights, trained, and asked for scores."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dxa_tbs.config import (
    ApproachConfig,
    FrozenBatchNorm,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    Precision,
    PretrainedConfig,
    TestEpoch,
    TrainerConfig,
)
from dxa_tbs.errors import Refusal
from dxa_tbs.models.adhoc import INPUT_PX
from dxa_tbs.models.pretrained import cut_at_dropout, freeze_backbone
from dxa_tbs.models.registry import build_model, count_parameters, describe_layers, trains_batchnorm
from dxa_tbs.models.weights import find_weights, load_backbone
from dxa_tbs.records import sha256_of_file
from dxa_tbs.training.batches import (
    Normalisation,
    Samples,
    ToInput,
    build_normalisation,
    predict_logits,
    to_samples,
    to_scores,
)
from dxa_tbs.training.checkpoint import load_weights
from dxa_tbs.training.device import choose_device, compute_exactly, describe_device, synchronise
from dxa_tbs.training.features import feature_maps, frozen_features
from dxa_tbs.training.fit import Epoch, Fitted, build_optimizer, fit

log = logging.getLogger("dxa_tbs.trial")


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
    def environment(self) -> dict[str, Any]:
        return describe_device(self.device, self.precision.value)

    @property
    def layers(self) -> list[dict[str, object]]:
        image = self.normalise.to_input(torch.zeros(1, INPUT_PX, INPUT_PX, dtype=torch.uint8, device=self.device))
        return describe_layers(self.model, image)

    @property
    def trainable_parameters(self) -> int:
        return count_parameters(self.model)


@dataclass(frozen=True)
class Learner:
    """What is trained and asked: the network on pixels, or what follows the cut of a frozen one on cached features.

    Attributes:
        model: shares its parameters with the network.
        inputs_N: of every image: uint8 (N, H, W), or features.
        to_input: from a batch of them to what the model takes.
        features_from_cache: whether features were on disk already; None: there are none.
    """

    model: nn.Module
    inputs_N: np.ndarray
    to_input: ToInput
    device: torch.device
    precision: Precision
    features_from_cache: bool | None = None


def build_network(
    model: ModelConfig, approach: ApproachConfig, trainer: TrainerConfig, *, seed: int, trained: Path | None
) -> Network:
    """Return the network on its device: initialised, or with the weights of a file.

    Args:
        seed: of the initialisation.
        trained: model.pt of a finished run; None: initial weights, as `model` says.

    Raises:
        Refusal: the device, or the weights, cannot be had; or the micro-batches would not be exact.
    """
    device = choose_device(trainer.device)
    compute_exactly()
    initial = getattr(model, "weights", "none")
    path = None
    if isinstance(model, PretrainedConfig) and initial != "none" and trained is None:
        path = find_weights(model.architecture, initial)
    torch.manual_seed(seed)
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
    if trainer.micro_batch_size is not None and trains_batchnorm(network, moves_frozen_bn=_moves_frozen_bn(approach)):
        raise Refusal(
            f"trainer.micro_batch_size={trainer.micro_batch_size}: {model.name} has BatchNorm, whose statistics are "
            "those of the images at once: give a smaller trainer.batch_size instead, which is another protocol"
        )
    network = network.to(device).to(memory_format=torch.channels_last)
    return Network(
        network, build_normalisation(model.input_mean, model.input_std, device), weights, is_as_meant, trainer.precision
    )


def build_learner(
    network: Network, approach: ApproachConfig, pixels: np.ndarray, sha256: Sequence[str], *, cache_dir: Path
) -> Learner:
    """Return what is to be trained on `pixels`, uint8 (N, H, W); in approach head that is what follows the features."""
    if not (isinstance(approach, HeadConfig) and approach.cache_features):
        return Learner(network.model, pixels, network.normalise.to_input, network.device, network.precision)
    stem, tail = cut_at_dropout(network.model)
    features, was_cached = frozen_features(
        stem, pixels, sha256, normalise=network.normalise, precision=network.precision, cache_dir=cache_dir
    )
    return Learner(tail, features, feature_maps, network.device, network.precision, was_cached)


def take_samples(learner: Learner, rows: np.ndarray, labels: np.ndarray) -> Samples:
    """Return what training needs of the images in these rows, on the device."""
    samples = to_samples(learner.inputs_N[rows], labels, learner.device)
    synchronise(learner.device)
    return samples


def train(
    learner: Learner,
    train: Samples,
    val: Samples,
    *,
    approach: ApproachConfig,
    trainer: TrainerConfig,
    optimizer: OptimizerConfig,
    seed: int,
    auc: Callable[[np.ndarray, np.ndarray], float],
    on_epoch: Callable[[Epoch], None],
) -> Fitted:
    """Fit; the learner then holds the weights to test.

    Raises:
        Refusal: the loss is no number at once, or the memory of the GPU is too small.
    """
    settings = {key: value for key, value in dataclasses.asdict(optimizer).items() if key != "name"}
    moves_frozen_bn = _moves_frozen_bn(approach)
    try:
        fitted = fit(
            learner.model,
            train,
            val,
            optimizer=build_optimizer(learner.model, optimizer.name, **settings),
            to_input=learner.to_input,
            batch_size=trainer.batch_size,
            micro_batch_size=trainer.micro_batch_size,
            moves_frozen_bn=moves_frozen_bn,
            precision=learner.precision,
            epochs=trainer.epochs,
            patience=trainer.patience,
            keeps_last=trainer.test_epoch is TestEpoch.last,
            seed=seed,
            auc=auc,
            on_epoch=on_epoch,
        )
    except torch.OutOfMemoryError:
        raise Refusal(too_little_memory(learner.model, trainer, moves_frozen_bn=moves_frozen_bn)) from None
    learner.model.load_state_dict(fitted.state, strict=False)
    return fitted


def _moves_frozen_bn(approach: ApproachConfig) -> bool:
    return isinstance(approach, HeadConfig) and approach.frozen_bn is FrozenBatchNorm.train


def too_little_memory(model: nn.Module, trainer: TrainerConfig, *, moves_frozen_bn: bool = False) -> str:
    """Return what to do when a batch does not fit: smaller pieces of it where that is the same training."""
    size = trainer.micro_batch_size or trainer.batch_size
    text = f"the GPU has too little memory for {size} images at once: "
    if size == 1:
        return text + "use trainer.device=cpu"
    if trains_batchnorm(model, moves_frozen_bn=moves_frozen_bn):
        return text + (
            f"give trainer.batch_size={size // 2}, which is another protocol (no exact way exists with BatchNorm), or "
            "trainer.device=cpu"
        )
    return text + f"give trainer.micro_batch_size={size // 2} (their gradients are summed up: the same training)"


def predict(learner: Learner, rows: np.ndarray) -> np.ndarray:
    """Return the probability of Degraded, float64, of the images in these rows."""
    inputs = torch.from_numpy(np.array(learner.inputs_N[rows])).to(learner.device)
    return to_scores(predict_logits(learner.model, inputs, learner.to_input, learner.precision))

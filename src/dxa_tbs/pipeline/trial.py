"""The part of a run that needs torch: what is trained of a network, the training, and the scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dxa_tbs.config.choices import Precision, TestEpoch
from dxa_tbs.config.schema import ApproachConfig, HeadConfig, OptimizerConfig, TrainerConfig
from dxa_tbs.models.pretrained import cut_at_dropout
from dxa_tbs.models.registry import trains_batchnorm
from dxa_tbs.pipeline.network import Network, moves_frozen_bn
from dxa_tbs.training.batches import Samples, ToInput, predict_logits, to_scores
from dxa_tbs.training.blocks import with_fast_blocks
from dxa_tbs.training.device import place_inputs, synchronise
from dxa_tbs.training.features import feature_maps, frozen_features
from dxa_tbs.training.fit import Epoch, Fitted, fit
from dxa_tbs.training.memory import TOO_LITTLE_MEMORY, refusing_for_memory
from dxa_tbs.training.precision import with_frozen_lowered
from dxa_tbs.training.step import Step, batch_sizes, build_optimizer, build_step, enter_training, record_if_possible


@dataclass(frozen=True)
class Learner:
    """What is trained and asked: the network on pixels, or what follows the cut of a frozen one on cached features.

    Attributes:
        model: shares its parameters with the network.
        inputs_M: of every image: uint8 (M, H, W), or features; on the device, or on the host where that has no room.
        to_input: from a batch of them to what the model takes.
        features_from_cache: whether features were on disk already; None: there are none.
    """

    model: nn.Module
    inputs_M: torch.Tensor
    to_input: ToInput
    device: torch.device
    precision: Precision
    features_from_cache: bool | None = None


def build_learner(
    network: Network, approach: ApproachConfig, pixels: np.ndarray, sha256: Sequence[str], *, cache_dir: Path
) -> Learner:
    """Return what is to be trained on `pixels`, uint8 (M, H, W); in approach head that is what follows the features.

    Raises:
        Refusal: the disk has no room for features, or the GPU no memory.
    """
    device, normalise, precision = network.device, network.normalise, network.precision
    if isinstance(approach, HeadConfig) and approach.cache_features:
        stem, tail = cut_at_dropout(network.model)
        with refusing_for_memory(f"{TOO_LITTLE_MEMORY}: use trainer.device=cpu"):
            features, was_cached = frozen_features(
                stem, pixels, sha256, normalise=normalise, precision=precision, cache_dir=cache_dir
            )
        tail = with_frozen_lowered(tail, precision)
        return Learner(tail, place_inputs(features, device), feature_maps, device, precision, was_cached)
    inputs, model, to_input = place_inputs(pixels, device), network.model, normalise.to_input
    if device.type == "cpu" and isinstance(model, nn.Sequential):
        model = with_fast_blocks(model, takes_one_channel=normalise.is_grey)
        to_input = normalise.to_grey_input if normalise.is_grey else to_input
    return Learner(model, inputs, to_input, device, precision)


def take_samples(learner: Learner, rows: np.ndarray, labels: np.ndarray) -> Samples:
    """Return the images in these rows and their labels, both (N,)."""
    labels_N = torch.from_numpy(labels.astype(np.float32)).to(learner.device)
    rows_N = torch.tensor(rows).to(learner.inputs_M.device)
    synchronise(learner.device)
    return Samples(learner.inputs_M, rows_N, labels_N)


def prepare_step(
    learner: Learner, train: Samples, *, approach: ApproachConfig, trainer: TrainerConfig, optimizer: OptimizerConfig
) -> Step:
    """Return the step of training, on a GPU recorded for the batches to come.

    Raises:
        Refusal: the GPU has too little memory.
    """
    settings = {key: value for key, value in dataclasses.asdict(optimizer).items() if key != "name"}
    is_recorded = learner.device.type == "cuda" and learner.precision is not Precision.fp16  # its scaler asks the host
    with refusing_for_memory(too_little_memory(learner.model, approach, trainer)):
        step = build_step(
            learner.model,
            build_optimizer(learner.model, optimizer.name, is_recorded=is_recorded, **settings),
            to_input=learner.to_input,
            device=learner.device,
            micro_batch_size=trainer.micro_batch_size,
            precision=learner.precision,
        )
        if is_recorded:
            enter_training(learner.model, moves_frozen_bn=moves_frozen_bn(approach))
            step = record_if_possible(step, learner.model, train, batch_sizes(len(train), trainer.batch_size))
    synchronise(learner.device)
    return step


def train(
    learner: Learner,
    step: Step,
    train: Samples,
    watched: Samples,
    *,
    is_original_N: np.ndarray,
    approach: ApproachConfig,
    trainer: TrainerConfig,
    seed: int,
    auc: Callable[[np.ndarray, np.ndarray], float],
    on_epoch: Callable[[Epoch], None],
) -> Fitted:
    """Fit; the learner then holds the weights to test.

    Raises:
        Refusal: the loss is no number at once, or the GPU has too little memory.
    """
    with refusing_for_memory(too_little_memory(learner.model, approach, trainer)):
        fitted = fit(
            learner.model,
            train,
            watched,
            is_original_N=is_original_N,
            step=step,
            to_input=learner.to_input,
            batch_size=trainer.batch_size,
            moves_frozen_bn=moves_frozen_bn(approach),
            precision=learner.precision,
            epochs=trainer.epochs,
            patience=trainer.patience,
            keeps_last=trainer.test_epoch is TestEpoch.last,
            seed=seed,
            auc=auc,
            on_epoch=on_epoch,
        )
    learner.model.load_state_dict(fitted.state, strict=False)
    return fitted


def predict(learner: Learner, samples: Samples) -> np.ndarray:
    """Return the probability of Degraded, float64 (N,), of every sample.

    Raises:
        Refusal: the GPU has too little memory.
    """
    with refusing_for_memory(f"{TOO_LITTLE_MEMORY}: use trainer.device=cpu"):
        return to_scores(predict_logits(learner.model, samples, learner.to_input, learner.precision))


def too_little_memory(model: nn.Module, approach: ApproachConfig, trainer: TrainerConfig) -> str:
    """Return what to do when a batch does not fit: smaller pieces of it where that is the same training."""
    size = trainer.micro_batch_size or trainer.batch_size
    text = f"{TOO_LITTLE_MEMORY} for {size} images at once: "
    if size == 1:
        return text + "use trainer.device=cpu"
    if trains_batchnorm(model, moves_frozen_bn=moves_frozen_bn(approach)):
        return text + (
            f"give trainer.batch_size={size // 2}, which is another protocol (no exact way exists with BatchNorm), or "
            "trainer.device=cpu"
        )
    return text + f"give trainer.micro_batch_size={size // 2} (their gradients are summed up: the same training)"

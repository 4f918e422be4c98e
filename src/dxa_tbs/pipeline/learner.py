"""The part of a network to train: all of it, on pixels, or the layers after a frozen part, on cached features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dxa_tbs.config.choices import Precision
from dxa_tbs.models.chain import cut_at_dropout
from dxa_tbs.pipeline.network import Network
from dxa_tbs.progress import OnProgress, ignore_progress
from dxa_tbs.training.batches import Normalisation, Samples, ToInput, predict_outputs
from dxa_tbs.training.blocks import begins_with_block, with_fast_blocks
from dxa_tbs.training.device import place_inputs, synchronise
from dxa_tbs.training.features import feature_maps, frozen_features
from dxa_tbs.training.memory import TOO_LITTLE_MEMORY, refusing_for_memory
from dxa_tbs.training.precision import with_frozen_lowered


@dataclass(frozen=True)
class Learner:
    """The part of a network that is trained.

    Attributes:
        model: shares its parameters with the network.
        to_input: converts a batch of inputs to the input of the model.
        stem: the frozen layers before the model, whose features are its inputs; None: its inputs are pixels.
        cache_dir: the folder of cached features.
    """

    model: nn.Module
    to_input: ToInput
    stem: nn.Sequential | None
    cache_dir: Path
    normalise: Normalisation
    precision: Precision

    @property
    def device(self) -> torch.device:
        return self.normalise.scale_C.device


@dataclass(frozen=True)
class Inputs:
    """The inputs of a learner, one per image: pixels or features.

    Attributes:
        array: uint8 (M, H, W), or features; may be memory-mapped.
        sha256: hash of the pixels of each image.
        from_cache: whether the features were read from the cache; None: the inputs are pixels.
    """

    array: np.ndarray
    sha256: Sequence[str]
    from_cache: bool | None = None

    def by_sha256(self) -> dict[str, np.ndarray]:
        """Return the features of each image by the SHA-256 of its pixels."""
        return dict(zip(self.sha256, self.array, strict=True))


def build_learner(network: Network, *, caches_features: bool, cache_dir: Path = Path()) -> Learner:
    """Return the part of the network to train.

    Args:
        caches_features: for a network with a frozen backbone: whether `make_inputs` computes the features before its
            first dropout once.
    """
    normalise, precision = network.normalise, network.precision
    if caches_features:
        stem, tail = cut_at_dropout(network.model)
        return Learner(with_frozen_lowered(tail, precision), feature_maps, stem, cache_dir, normalise, precision)
    model, to_input = network.model, normalise.to_input
    if network.device.type == "cpu" and type(model) is nn.Sequential and normalise.is_channels_last:
        takes_one_channel = normalise.is_grey and begins_with_block(model)
        model = with_fast_blocks(model, takes_one_channel=takes_one_channel)
        to_input = normalise.to_grey_input if takes_one_channel else to_input
    return Learner(model, to_input, None, cache_dir, normalise, precision)


def make_inputs(
    learner: Learner,
    pixels: np.ndarray,
    sha256: Sequence[str],
    *,
    known: Mapping[str, np.ndarray] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Inputs:
    """Return the inputs of the learner for these images.

    Args:
        pixels: uint8 (M, H, W).
        sha256: hash of the pixels of each image.
        known: features of some of these images, by hash.

    Raises:
        Refusal: the disk is too full for the features, or the GPU has too little memory.
    """
    if learner.stem is None:
        return Inputs(pixels, sha256)
    with refusing_for_memory(f"{TOO_LITTLE_MEMORY}: use trainer.device=cpu"):
        features, was_cached = frozen_features(
            learner.stem,
            pixels,
            sha256,
            normalise=learner.normalise,
            precision=learner.precision,
            cache_dir=learner.cache_dir,
            known=known,
            on_progress=on_progress,
        )
    return Inputs(features, sha256, was_cached)


def place(learner: Learner, inputs: Inputs) -> torch.Tensor:
    """Return the inputs on the learner's device if they fit, else where they are."""
    return place_inputs(inputs.array, learner.device)


def take_samples(learner: Learner, inputs_M: torch.Tensor, rows: np.ndarray, targets: np.ndarray) -> Samples:
    """Return the samples in these rows; rows and targets have shape (N,)."""
    targets_N = torch.from_numpy(targets.astype(np.float32)).to(learner.device)
    rows_N = torch.tensor(rows).to(inputs_M.device)
    synchronise(learner.device)
    return Samples(inputs_M, rows_N, targets_N)


def predict_all(learner: Learner, inputs: Inputs) -> torch.Tensor:
    """Return the outputs, float32 (M, K), of every image.

    Raises:
        Refusal: the GPU has too little memory.
    """
    size = len(inputs.array)
    samples = take_samples(learner, place(learner, inputs), np.arange(size), np.zeros(size))
    with refusing_for_memory(f"{TOO_LITTLE_MEMORY}: use trainer.device=cpu"):
        return predict_outputs(learner.model, samples, learner.to_input, learner.precision)

"""Features: the outputs of a network's frozen part for each image, computed once and kept on disk."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dxa_tbs.cache import cached_folder
from dxa_tbs.config.choices import Precision
from dxa_tbs.disk import FULL, create_array
from dxa_tbs.errors import Refusal
from dxa_tbs.progress import OnProgress, Progress, ignore_progress
from dxa_tbs.training.batches import EVAL_BATCH_SIZE, Normalisation
from dxa_tbs.training.precision import lowered

log = logging.getLogger("dxa_tbs.training")


def frozen_features(
    stem: nn.Module,
    pixels: np.ndarray,
    sha256: Sequence[str],
    *,
    normalise: Normalisation,
    precision: Precision,
    cache_dir: Path,
    known: Mapping[str, np.ndarray] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> tuple[np.ndarray, bool]:
    """Return the memory-mapped features of all images, and whether they came from the cache.

    Args:
        stem: the frozen part; its outputs are (N, C) or (N, C, H, W).
        pixels: uint8 (N, H, W).
        sha256: of the pixels of each image. The cache key consists of these, the stem with its weights, the
            normalisation, and the torch version, device type and precision that computed the features.

        known: features of some of the images, by their SHA-256, from an earlier call with the same stem.

    Returns:
        Shape (N, C), or (N, H, W, C) for maps, which are stored with their channels last; float32, or bfloat16 with its
        bits stored as int16. `feature_maps` reverses both.

    Raises:
        Refusal: the disk has too little space.
    """
    stem = stem.eval()

    def compute(batch: torch.Tensor) -> np.ndarray:
        return _to_stored(_compute(stem, batch, normalise, precision))

    device = normalise.scale_C.device
    write = functools.partial(
        _write, pixels=pixels, sha256=sha256, known=known or {}, device=device, compute=compute, on_progress=on_progress
    )
    entry, was_cached = cached_folder(cache_dir, "features", _recipe(stem, sha256, normalise, precision), write)
    return np.load(entry / "features.npy", mmap_mode="r"), was_cached


def feature_maps(stored: torch.Tensor) -> torch.Tensor:
    """Return stored features in the form that the rest of the network takes: (B, C) or (B, C, H, W)."""
    features = stored.view(torch.bfloat16) if stored.dtype == torch.int16 else stored
    return features.permute(0, 3, 1, 2) if features.ndim == 4 else features


@torch.inference_mode()
def _compute(stem: nn.Module, batch: torch.Tensor, normalise: Normalisation, precision: Precision) -> torch.Tensor:
    with lowered(batch.device, precision):
        features: torch.Tensor = stem(normalise.to_input(batch))
    return features


def _to_stored(features: torch.Tensor) -> np.ndarray:
    features = features.permute(0, 2, 3, 1) if features.ndim == 4 else features
    # numpy has no bfloat16
    return (features.view(torch.int16) if features.dtype == torch.bfloat16 else features).cpu().numpy()


def _write(
    folder: Path,
    *,
    pixels: np.ndarray,
    sha256: Sequence[str],
    known: Mapping[str, np.ndarray],
    device: torch.device,
    compute: Callable[[torch.Tensor], np.ndarray],
    on_progress: OnProgress,
) -> None:
    """Write features.npy: known features as they are, those of the other images computed in batches.

    The last batch is padded, so that the features of an image do not depend on how many images there are.
    """
    new = np.array([row for row, digest in enumerate(sha256) if digest not in known], int)
    size = EVAL_BATCH_SIZE[device.type]
    stored = None
    for start in range(0, len(new), size):
        rows = new[start : start + size]
        filled = np.resize(rows, size)
        features = compute(torch.from_numpy(pixels[filled]).to(device))[: len(rows)]
        if stored is None:
            stored = _create(folder, (len(sha256), *features.shape[1:]), features.dtype)
        stored[rows] = features
        on_progress(Progress("features", start + len(rows), len(new)))
    if stored is None:
        first = known[sha256[0]]
        stored = _create(folder, (len(sha256), *first.shape), first.dtype)
    for row, digest in enumerate(sha256):
        if digest in known:
            stored[row] = known[digest]
    stored.flush()
    log.info("features: %d images, %.0f MB in %s", len(sha256), stored.nbytes / 1e6, folder.parent)


def _create(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.memmap[Any, Any]:
    try:
        return create_array(folder / "features.npy", dtype, shape)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise Refusal(
            f"cache_dir={folder.parent}: too little space for the features ({error.strerror}): name another folder, or "
            "give approach.cache_features=false"
        ) from None


def _recipe(
    stem: nn.Module, sha256: Sequence[str], normalise: Normalisation, precision: Precision
) -> dict[str, object]:
    weights = hashlib.sha256(repr(stem).encode())  # renaming a layer class changes the key of users' caches
    for tensor in stem.state_dict().values():
        weights.update(tensor.cpu().contiguous().numpy().tobytes())
    return {
        "images": list(sha256),
        "stem": weights.hexdigest(),
        "normalisation": [
            *(normalise.scale_C.tolist(), normalise.shift_C.tolist()),
            *([] if normalise.to_channels is None else [normalise.channels]),
        ],
        "computed_by": [torch.__version__, normalise.scale_C.device.type, precision.value],
    }

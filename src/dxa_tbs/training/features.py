"""Features: the outputs of a network's frozen part for each image, computed once and kept on disk."""

from __future__ import annotations

import functools
import hashlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dxa_tbs.cache import cached_folder
from dxa_tbs.config.choices import Precision
from dxa_tbs.errors import Refusal
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
) -> tuple[np.ndarray, bool]:
    """Return the memory-mapped features of all images, and whether they came from the cache.

    Args:
        stem: the frozen part; its outputs are (N, C) or (N, C, H, W).
        pixels: uint8 (N, H, W).
        sha256: of the pixels of each image. The cache key consists of these, the stem with its weights, the
            normalisation, and the torch version, device type and precision that computed the features.

    Returns:
        Shape (N, C), or (N, H, W, C) for maps, which are stored with their channels last; float32, or bfloat16 with its
        bits stored as int16. `feature_maps` reverses both.

    Raises:
        Refusal: the disk has too little space.
    """
    write = functools.partial(_extract, stem.eval(), pixels, normalise=normalise, precision=precision)
    entry, was_cached = cached_folder(cache_dir, "features", _recipe(stem, sha256, normalise, precision), write)
    return np.load(entry / "features.npy", mmap_mode="r"), was_cached


def feature_maps(stored: torch.Tensor) -> torch.Tensor:
    """Return stored features in the form that the rest of the network takes: (B, C) or (B, C, H, W)."""
    features = stored.view(torch.bfloat16) if stored.dtype == torch.int16 else stored
    return features.permute(0, 3, 1, 2) if features.ndim == 4 else features


@torch.inference_mode()
def _extract(
    stem: nn.Module, pixels: np.ndarray, folder: Path, *, normalise: Normalisation, precision: Precision
) -> None:
    device = normalise.scale_C.device
    stored = None
    with tqdm(total=len(pixels), desc="features", unit="image", disable=None, leave=False) as bar:
        size = EVAL_BATCH_SIZE[device.type]
        for start in range(0, len(pixels), size):
            batch = torch.from_numpy(np.array(pixels[start : start + size])).to(device)
            with lowered(device, precision):
                outputs = stem(normalise.to_input(batch))
            outputs = outputs.permute(0, 2, 3, 1) if outputs.ndim == 4 else outputs
            # numpy has no bfloat16
            features = (outputs.view(torch.int16) if outputs.dtype == torch.bfloat16 else outputs).cpu().numpy()
            if stored is None:
                shape = (len(pixels), *features.shape[1:])
                _require_space(folder, features[0].nbytes * len(pixels))
                stored = np.lib.format.open_memmap(folder / "features.npy", "w+", features.dtype, shape)
            stored[start : start + len(batch)] = features
            bar.update(len(batch))
    assert stored is not None
    stored.flush()
    log.info("features: %d images, %.0f MB in %s", len(pixels), stored.nbytes / 1e6, folder.parent)


def _require_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise Refusal(
            f"cache_dir={folder.parent}: features need {num_bytes / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free: "
            "name another folder, or give approach.cache_features=false"
        )


def _recipe(
    stem: nn.Module, sha256: Sequence[str], normalise: Normalisation, precision: Precision
) -> dict[str, object]:
    weights = hashlib.sha256(repr(stem).encode())  # renaming a layer class changes the key of users' caches
    for tensor in stem.state_dict().values():
        weights.update(tensor.cpu().contiguous().numpy().tobytes())
    return {
        "images": list(sha256),
        "stem": weights.hexdigest(),
        "normalisation": [normalise.scale_C.tolist(), normalise.shift_C.tolist()],
        "computed_by": [torch.__version__, normalise.scale_C.device.type, precision.value],
    }

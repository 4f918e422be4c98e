"""What the frozen part of a network makes of each image: computed once, kept on disk."""

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
    """Return the features of every image, memory-mapped, and whether the cache had them.

    Args:
        stem: the frozen part, which makes (N, C) or (N, C, H, W) of images.
        pixels: uint8 (N, H, W).
        sha256: of the pixels of each image; with the stem, its weights and the normalisation they are the cache's key.

    Returns:
        (N, C), or (N, H, W, C): maps are stored with their channels last; float32, or the bits of bfloat16 as int16.
        `feature_maps` undoes both.

    Raises:
        Refusal: the disk has no room.
    """
    write = functools.partial(_extract, stem.eval(), pixels, normalise=normalise, precision=precision)
    entry, was_cached = cached_folder(cache_dir, "features", _recipe(stem, sha256, normalise, precision), write)
    return np.load(entry / "features.npy", mmap_mode="r"), was_cached


def feature_maps(stored: torch.Tensor) -> torch.Tensor:
    """Return stored features as the network's later part takes them: (B, C) or (B, C, H, W)."""
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
                made = stem(normalise.to_input(batch))
            made = made.permute(0, 2, 3, 1) if made.ndim == 4 else made
            features = (made.view(torch.int16) if made.dtype == torch.bfloat16 else made).cpu().numpy()
            if stored is None:
                shape = (len(pixels), *features.shape[1:])
                _require_room(folder, features[0].nbytes * len(pixels))
                stored = np.lib.format.open_memmap(folder / "features.npy", "w+", features.dtype, shape)
            stored[start : start + len(batch)] = features
            bar.update(len(batch))
    assert stored is not None
    stored.flush()
    log.info("features: %d images, %.0f MB in %s", len(pixels), stored.nbytes / 1e6, folder.parent)


def _require_room(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise Refusal(
            f"cache_dir={folder.parent}: features need {num_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: name "
            "another folder, or give approach.cache_features=false"
        )


def _recipe(
    stem: nn.Module, sha256: Sequence[str], normalise: Normalisation, precision: Precision
) -> dict[str, object]:
    weights = hashlib.sha256(repr(stem).encode())
    for tensor in stem.state_dict().values():
        weights.update(tensor.cpu().contiguous().numpy().tobytes())
    return {
        "images": list(sha256),
        "stem": weights.hexdigest(),
        "normalisation": [normalise.scale_C.tolist(), normalise.shift_C.tolist()],
        "computed_by": [torch.__version__, normalise.scale_C.device.type, precision.value],
    }

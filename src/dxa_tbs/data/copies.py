"""The images of a cohort with their augmented copies behind them: made once, memory-mapped, kept in the cache."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import PIL

from dxa_tbs.cache import cached_folder
from dxa_tbs.config.schema import AugmentationConfig
from dxa_tbs.data.augment import augment
from dxa_tbs.hashes import sha256_of_array

VERSION = 1  # raise when a change moves a pixel: cached copies then count as stale


def load_with_copies(
    pixels: np.ndarray,
    sha256: Sequence[str],
    plan: pd.DataFrame,
    how: AugmentationConfig,
    *,
    seed: int,
    cache_dir: Path,
) -> tuple[np.ndarray, list[str]]:
    """Return originals and copies, uint8 (N + copies, H, W), and the SHA-256 of each copy.

    Args:
        pixels: of the originals, uint8 (N, H, W).
        sha256: of each of them.
        plan: one row per copy, as `plan_copies` returns it, whose index is the row of its original.
    """
    recipe = {"version": VERSION, "originals": list(sha256), "copies": plan["image_id"].tolist(), "seed": seed}
    recipe |= {"how": repr(dataclasses.asdict(how)), "libraries": [np.__version__, PIL.__version__]}
    write = functools.partial(_write, pixels=pixels, plan=plan, how=how, seed=seed)
    entry, _ = cached_folder(cache_dir, "copies", recipe, write)
    made = json.loads((entry / "sha256.json").read_text(encoding="utf-8"))
    return np.load(entry / "images.npy", mmap_mode="r"), made


def _write(folder: Path, *, pixels: np.ndarray, plan: pd.DataFrame, how: AugmentationConfig, seed: int) -> None:
    shape = (len(pixels) + len(plan), *pixels.shape[1:])
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    images[: len(pixels)] = pixels
    for place, (row, image_id) in enumerate(zip(plan.index, plan["image_id"], strict=True), start=len(pixels)):
        images[place] = augment(
            pixels[row],
            image_id=image_id,
            seed=seed,
            flip_probability=how.flip_probability,
            max_rotation_deg=how.max_rotation_deg,
            brightness_change=(how.min_brightness_change, how.max_brightness_change),
            interpolation=how.interpolation,
        )
    images.flush()
    made = [sha256_of_array(image) for image in images[len(pixels) :]]
    (folder / "sha256.json").write_text(json.dumps(made, indent=0), encoding="utf-8")

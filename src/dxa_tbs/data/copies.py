"""The images of train and val, followed by their augmented copies: made once, kept in the cache, memory-mapped."""

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
from dxa_tbs.data.augment import Changes, augment
from dxa_tbs.disk import create_array
from dxa_tbs.hashes import sha256_of_array

VERSION = 2  # increase when a change alters a pixel or the order: cached copies are then stale


def load_with_copies(
    pixels: np.ndarray,
    rows: np.ndarray,
    sha256: Sequence[str],
    plan: pd.DataFrame,
    changes: Changes,
    *,
    seed: int,
    cache_dir: Path,
) -> tuple[np.ndarray, list[str]]:
    """Return originals and their copies, uint8 (R + copies, H, W), and the SHA-256 of each copy.

    Args:
        pixels: all originals, uint8 (N, H, W).
        rows: the rows of train and val, (R,).
        sha256: hash of each of these originals.
        plan: one row per copy, from `plan_copies`; its index is the row of the original.
    """
    recipe = {"version": VERSION, "originals": list(sha256), "copies": plan["image_id"].tolist(), "seed": seed}
    recipe |= {"how": repr(dataclasses.asdict(changes)), "libraries": [np.__version__, PIL.__version__]}
    write = functools.partial(_write, pixels=pixels, rows=rows, plan=plan, changes=changes, seed=seed)
    entry, _ = cached_folder(cache_dir, "copies", recipe, write)
    made = json.loads((entry / "sha256.json").read_text(encoding="utf-8"))
    return np.load(entry / "images.npy", mmap_mode="r"), made


def _write(
    folder: Path, *, pixels: np.ndarray, rows: np.ndarray, plan: pd.DataFrame, changes: Changes, seed: int
) -> None:
    shape = (len(rows) + len(plan), *pixels.shape[1:])
    images = create_array(folder / "images.npy", np.dtype(np.uint8), shape)
    for place, row in enumerate(rows):
        images[place] = pixels[row]
    for place, (row, image_id) in enumerate(zip(plan.index, plan["image_id"], strict=True), start=len(rows)):
        images[place] = augment(pixels[row], changes, image_id=image_id, seed=seed)
    images.flush()
    made = [sha256_of_array(image) for image in images[len(rows) :]]
    (folder / "sha256.json").write_text(json.dumps(made, indent=0), encoding="utf-8")

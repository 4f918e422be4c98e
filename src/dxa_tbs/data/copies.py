"""The images of train and val, followed by their augmented copies: made once, kept in the cache, memory-mapped."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
import scipy

from dxa_tbs.cache import cached_folder
from dxa_tbs.data.augment import Operation, make_copy
from dxa_tbs.data.repeatable import require_repeatable
from dxa_tbs.disk import create_array
from dxa_tbs.hashes import sha256_of_array

VERSION = 3  # increase when a change alters a pixel or the order: cached copies are then stale


def load_with_copies(
    pixels: np.ndarray,
    rows: np.ndarray,
    sha256: Sequence[str],
    plan: pd.DataFrame,
    operations: Sequence[Operation],
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
        operations: what changes a copy, in this order.

    Raises:
        Refusal: an operation of the user's own returns no image, or gives another one when called again.
    """

    def make(number: int) -> np.ndarray:
        return make_copy(pixels[plan.index[number]], operations, image_id=plan["image_id"].iloc[number], seed=seed)

    recipe = {"version": VERSION, "originals": list(sha256), "copies": plan["image_id"].tolist(), "seed": seed}
    recipe["operations"] = [[one.name, dict(one.settings), one.code_sha256] for one in operations]
    recipe["libraries"] = [np.__version__, PIL.__version__, scipy.__version__]
    if own := [one.name for one in operations if one.is_own]:  # what their code imports may have changed too
        recipe["first"] = require_repeatable(make, len(plan), names=", ".join(own))
    write = functools.partial(_write, pixels=pixels, rows=rows, num_copies=len(plan), make=make)
    entry, _ = cached_folder(cache_dir, "copies", recipe, write)
    made = json.loads((entry / "sha256.json").read_text(encoding="utf-8"))
    return np.load(entry / "images.npy", mmap_mode="r"), made


def _write(
    folder: Path, *, pixels: np.ndarray, rows: np.ndarray, num_copies: int, make: Callable[[int], np.ndarray]
) -> None:
    shape = (len(rows) + num_copies, *pixels.shape[1:])
    images = create_array(folder / "images.npy", np.dtype(np.uint8), shape)
    for place, row in enumerate(rows):
        images[place] = pixels[row]
    for number in range(num_copies):
        images[len(rows) + number] = make(number)
    images.flush()
    made = [sha256_of_array(image) for image in images[len(rows) :]]
    (folder / "sha256.json").write_text(json.dumps(made, indent=0), encoding="utf-8")

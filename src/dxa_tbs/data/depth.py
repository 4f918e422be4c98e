"""How many of 16 bits the images of a cohort use; a few stray pixels do not decide it."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np

from dxa_tbs.data.frames import UnusableImage, decode
from dxa_tbs.errors import Refusal

DEPTHS = (8, 10, 12, 14, 16)
MAX_STRAY_SHARE = 0.01  # of all pixels; if fewer are brighter, they are probably marks or hot pixels


def to_bytes(frame: np.ndarray, bits: int) -> np.ndarray:
    """Return a 16-bit frame as uint8; pixels brighter than `bits` can hold become white."""
    return np.asarray(np.minimum(frame >> (bits - 8), 255).astype(np.uint8))


def num_brighter(frame: np.ndarray, bits: int) -> int:
    """Return the number of pixels brighter than `bits` can hold."""
    return int(np.count_nonzero(frame > (1 << bits) - 1))


def bits_in_use(paths: list[Path]) -> int:
    """Return the smallest depth of DEPTHS that holds all pixels of all files.

    Raises:
        Refusal: without a few pixels a smaller depth would do. If these are marks or hot pixels, scaling to them would
            darken the whole cohort.
    """

    def num_above(path: Path) -> list[int]:
        try:
            frame = decode(path)
        except UnusableImage:
            return [0] * (len(DEPTHS) + 1)  # reported when the images are read
        return [*(num_brighter(frame, bits) for bits in DEPTHS), frame.size]

    counts = np.array(joblib.Parallel(n_jobs=-1, prefer="threads")(joblib.delayed(num_above)(path) for path in paths))
    above, size = counts[:, :-1], max(1, counts[:, -1].sum())
    needed = next(bits for bits, num in zip(DEPTHS, above.sum(axis=0), strict=True) if not num)
    would_do = next(bits for bits, num in zip(DEPTHS, above.sum(axis=0), strict=True) if num <= MAX_STRAY_SHARE * size)
    if would_do < needed:
        stray = above[:, DEPTHS.index(would_do)]
        raise Refusal(
            f"dataset.bits: {stray.sum()} pixels of {np.count_nonzero(stray)} images, of {len(paths)} with 16 bits, "
            f"need {needed} bits, all others {would_do}: if they are marks or hot pixels, dataset.bits={would_do} "
            f"makes them white; if they are grey levels, dataset.bits={needed} keeps them",
            [f"{path}: {num} pixels" for path, num in zip(paths, stray, strict=True) if num],
        )
    return needed

"""How many of 16 bits a cohort uses: no single pixel decides that."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np

from dxa_tbs.data.frames import UnusableImage, decode
from dxa_tbs.errors import Refusal

DEPTHS = (8, 10, 12, 14, 16)
MAX_STRAY_SHARE = 0.01  # of the pixels: so few that are brighter are marks or hot pixels


def to_bytes(frame: np.ndarray, bits: int) -> np.ndarray:
    """Return a frame of 16 bits as uint8; what is brighter than `bits` allow is white."""
    return np.asarray(np.minimum(frame >> (bits - 8), 255).astype(np.uint8))


def num_brighter(frame: np.ndarray, bits: int) -> int:
    """Return how many pixels are brighter than so many bits can say."""
    return int(np.count_nonzero(frame > (1 << bits) - 1))


def bits_in_use(paths: list[Path]) -> int:
    """Return the fewest bits that hold all pixels.

    Raises:
        Refusal: but for few pixels, fewer bits would do: marks or hot pixels would then darken the whole cohort.
    """

    def num_above(path: Path) -> list[int]:
        try:
            frame = decode(path)
        except UnusableImage:
            return [0] * (len(DEPTHS) + 1)  # listed when the images are read
        return [*(num_brighter(frame, bits) for bits in DEPTHS), frame.size]

    counts = np.array(joblib.Parallel(n_jobs=-1, prefer="threads")(joblib.delayed(num_above)(path) for path in paths))
    above, size = counts[:, :-1], max(1, counts[:, -1].sum())
    needed = next(bits for bits, num in zip(DEPTHS, above.sum(axis=0), strict=True) if not num)
    would_do = next(bits for bits, num in zip(DEPTHS, above.sum(axis=0), strict=True) if num <= MAX_STRAY_SHARE * size)
    if would_do < needed:
        stray = above[:, DEPTHS.index(would_do)]
        raise Refusal(
            f"dataset.bits: {stray.sum()} pixels of {np.count_nonzero(stray)} images, of {len(paths)} with 16 bits, "
            f"need {needed} bits, all others {would_do}: marks or hot pixels? dataset.bits={would_do} makes them "
            f"white, dataset.bits={needed} takes them as grey levels",
            [f"{path}: {num} pixels" for path, num in zip(paths, stray, strict=True) if num],
        )
    return needed

"""Finds near-duplicates: a scan saved again, re-encoded, resized, brightened, noised, mirrored or shifted by a pixel.

A frame is reduced to 64 x 64 pixels, and its coarse structure, which all spines share, is subtracted. The rest is
clipped, so that burnt-in lines do not dominate, and projected to 512 numbers, the signature. Signatures correlate as
the filtered images do. They do not identify a patient: the image that can be reconstructed from a signature correlates
with the filtered image by only 0.3.

Measured on phantom frames of 300 x 280 pixels: among 32 million pairs of different frames, each also mirrored, the
highest correlation is 0.85. A copy correlates with its original by 0.98 or more after JPEG compression at quality 50,
by 0.95 when 20 % brighter, 0.92 with noise of SD 10 grey levels, 0.92 shifted one pixel to the right, and 0.88 shifted
one pixel to the right and down. Most shifts by two pixels, rotations by more than a degree, and crops are not found.
Different images with the same lines burnt in at the same place correlate by up to 0.88.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

MIN_CORRELATION = 0.87  # from here on two images count as the same scan
SIDE_PX = 64
SIGMA_PX = 2.0  # of the Gaussian filter whose output is subtracted, at 64 x 64 pixels
CLIP_SDS = 2.0  # structure is clipped at this many robust standard deviations
FLAT_LEVELS = 0.5  # structure of fewer grey levels does not count
MARGIN_LEVELS = 8  # rows whose mean is this close to black or white are margin, even if there is noise in them
HALF = 256  # numbers in each half of a signature: symmetric part of the image first, then antisymmetric part
BLOCK = 1024  # images compared at a time: 2 x 4 MiB of correlations


class Pair(NamedTuple):
    """Two images that are alike.

    Attributes:
        first, second: positions of the images in the arrays given to `find_alike`.
        correlation: of their signatures.
        is_mirrored: whether one is the mirror image of the other.
    """

    first: int
    second: int
    correlation: float
    is_mirrored: bool


def compute_signature(frame: np.ndarray) -> np.ndarray:
    """Return the signature, int8 (512,), of a frame, uint8 (H, W); all zeros for an image without structure."""
    small = Image.fromarray(_without_margins(frame)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    detail = grey - ndimage.gaussian_filter(grey, SIGMA_PX)
    structure = np.abs(detail[np.abs(detail) > FLAT_LEVELS])
    if not structure.size:
        return np.zeros(2 * HALF, np.int8)
    limit = CLIP_SDS * 1.4826 * np.median(structure)
    detail = np.clip(detail, -limit, limit)
    detail -= detail.mean()
    left, right = detail[:, : SIDE_PX // 2].ravel(), detail[:, : SIDE_PX // 2 - 1 : -1].ravel()  # right: mirrored
    of_sum, of_difference = _projections()
    numbers = np.concatenate([of_sum @ (left + right), of_difference @ (left - right)])
    signature: np.ndarray = np.round(numbers * (127 / np.abs(numbers).max())).astype(np.int8)
    return signature


def find_alike(signatures: np.ndarray, others: np.ndarray | None = None) -> Iterator[Pair]:
    """Yield the pairs of images that are alike.

    All pairs are compared, in blocks: time grows with N squared, memory with N.

    Args:
        signatures: int8 (N, 512).
        others: int8 (M, 512): pair each of `signatures` with each of these, and let `second` be a position here. None:
            pair `signatures` among themselves, with `first` < `second`.
    """
    is_same = others is None
    others = signatures if others is None else others
    for top in range(0, len(signatures), BLOCK):
        rows = _unit(signatures[top : top + BLOCK])
        for start in range(top if is_same else 0, len(others), BLOCK):
            columns = _unit(others[start : start + BLOCK])
            symmetric = rows[:, :HALF] @ columns[:, :HALF].T
            antisymmetric = rows[:, HALF:] @ columns[:, HALF:].T  # changes sign if one of the two images is mirrored
            found = symmetric + np.abs(antisymmetric) >= MIN_CORRELATION
            for row, column in np.argwhere(np.triu(found, 1) if is_same and start == top else found):
                correlation = float(symmetric[row, column] + abs(antisymmetric[row, column]))
                yield Pair(int(top + row), int(start + column), correlation, bool(antisymmetric[row, column] < 0))


def _without_margins(frame: np.ndarray) -> np.ndarray:
    """Return a frame without black or white margins, whose edges would make all padded images alike."""
    for _ in range(2):
        mean = frame.mean(axis=1)
        shown = np.flatnonzero((mean > MARGIN_LEVELS) & (mean < 255 - MARGIN_LEVELS))
        frame = frame[shown[0] : shown[-1] + 1] if shown.size else frame
        frame = frame.T
    return np.ascontiguousarray(frame)


def _unit(signatures: np.ndarray) -> np.ndarray:
    """Return signatures of unit length, float32; zero signatures stay zero."""
    rows = signatures.astype(np.float32)
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1)
    return unit


@functools.cache
def _projections() -> np.ndarray:
    """Return two random matrices of 1 and -1, float32 (2, 256, 2048), equal on all machines and in all versions.

    Source: Achlioptas, J Comput Syst Sci 66:671 (2003): such projections preserve angles.
    """
    size = 2 * HALF * SIDE_PX * SIDE_PX // 2
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(b"dxa_tbs").digest(size // 8), np.uint8))
    return (2 * bits.astype(np.float32) - 1).reshape(2, HALF, SIDE_PX * SIDE_PX // 2)

"""A few numbers of each image, against which a network is held: what grey level and texture alone allow.

Measured on the 224 x 224 window, before any masking, and written to measures.csv.
"""

from __future__ import annotations

import numpy as np

from dxa_tbs.config.choices import Region
from dxa_tbs.data.variogram import variogram_slope

MEASURES = ("grey", "variogram_slope", "vertebrae_grey", "background_grey", "background_slope")
NUM_VERTEBRAE = 4  # L1 to L4


def measure(window: np.ndarray, box: np.ndarray) -> dict[str, float]:
    """Return MEASURES of an image; NaN where they are not defined.

    The slope of the variogram is that of the vertebral bodies where a box is known: of the middle half, in both
    directions, of each quarter of the box, so that discs and edges stay out. Else it is that of the whole window, and
    what needs a box is NaN.

    Args:
        window: uint8 (H, W).
        box: x0, y0, x1, y1 around L1-L4 in pixels of the window, NaN where unknown.
    """
    everywhere = np.ones(window.shape, int)
    if np.isnan(box).any():
        known = {"grey": float(window.mean()), "variogram_slope": _slope(window, everywhere)}
        return dict.fromkeys(MEASURES, np.nan) | known
    inside, beside = box_mask(window.shape, box), beside_mask(window.shape, box)
    return {
        "grey": float(window.mean()),
        "variogram_slope": _slope(window, _bodies(window.shape, box)),
        "vertebrae_grey": float(window[inside].mean()) if inside.any() else np.nan,
        "background_grey": float(window[beside].mean()) if beside.any() else np.nan,
        "background_slope": _slope(window, everywhere * beside),
    }


def box_mask(shape: tuple[int, ...], box: np.ndarray) -> np.ndarray:
    """Return which pixels lie in the box, bool of that shape."""
    x0, y0, x1, y1 = np.rint(box).astype(int)
    mask = np.zeros(shape, bool)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask


def beside_mask(shape: tuple[int, ...], box: np.ndarray) -> np.ndarray:
    """Return which pixels lie left or right of the box: above and below it the spine goes on."""
    return ~box_mask(shape, np.array([box[0], 0, box[2], shape[0]]))


def keep_region(window: np.ndarray, box: np.ndarray, region: Region) -> np.ndarray:
    """Return the image with all but the box, or all but what is left and right of it, made black."""
    kept = box_mask if region is Region.vertebrae else beside_mask
    return np.where(kept(window.shape, box), window, np.uint8(0))


def _bodies(shape: tuple[int, ...], box: np.ndarray) -> np.ndarray:
    """Return a map of 1, 2, 3, 4 for the middle half of each quarter of the box, from top to bottom."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, (y1 - y0) / NUM_VERTEBRAE
    regions = np.zeros(shape, int)
    for level in range(NUM_VERTEBRAE):
        top = y0 + level * height
        middle = np.array([x0 + width / 4, top + height / 4, x1 - width / 4, top + height * 3 / 4])
        regions[box_mask(shape, middle)] = level + 1
    return regions


def _slope(window: np.ndarray, regions: np.ndarray) -> float:
    """Return the slope of the variogram, NaN where a region has no pair of pixels, or none that differ."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = variogram_slope(window, regions) if regions.any() else np.nan
    return slope if np.isfinite(slope) else np.nan

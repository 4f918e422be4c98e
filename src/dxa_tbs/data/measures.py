"""Simple measures of each image, the baselines of a network: how far grey level and texture alone separate the classes.

They are computed on the window before masking, and written to measures.csv.
"""

from __future__ import annotations

import numpy as np

from dxa_tbs.config.choices import Region
from dxa_tbs.data.variogram import variogram_slope

MEASURES = ("grey", "variogram_slope", "vertebrae_grey", "background_grey", "background_slope")
NUM_VERTEBRAE = 4  # L1 to L4


def measure(window: np.ndarray, box: np.ndarray) -> dict[str, float]:
    """Return MEASURES of an image; undefined measures are NaN.

    If the box is known, the slope of the variogram is measured in the vertebral bodies: the box is cut into quarters
    from top to bottom, and of each the middle half in both directions is used, without discs and edges. Otherwise the
    slope is that of the whole window, and measures that need a box are NaN.

    Args:
        window: uint8 (H, W).
        box: x0, y0, x1, y1 around L1-L4 in pixels of the window; NaN if unknown.
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
    """Return a bool mask of the given shape that is True inside the box."""
    x0, y0, x1, y1 = np.rint(box).astype(int)
    mask = np.zeros(shape, bool)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask


def beside_mask(shape: tuple[int, ...], box: np.ndarray) -> np.ndarray:
    """Return a bool mask that is True left and right of the box; above and below it the spine continues."""
    return ~box_mask(shape, np.array([box[0], 0, box[2], shape[0]]))


def keep_region(window: np.ndarray, box: np.ndarray, region: Region) -> np.ndarray:
    """Return the image with only `region` kept, the box or the background beside it; all else is black."""
    kept = box_mask if region is Region.vertebrae else beside_mask
    return np.where(kept(window.shape, box), window, np.uint8(0))


def _bodies(shape: tuple[int, ...], box: np.ndarray) -> np.ndarray:
    """Return a map with 1, 2, 3, 4 in the middle half of each quarter of the box, from top to bottom, else 0."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, (y1 - y0) / NUM_VERTEBRAE
    regions = np.zeros(shape, int)
    for level in range(NUM_VERTEBRAE):
        top = y0 + level * height
        middle = np.array([x0 + width / 4, top + height / 4, x1 - width / 4, top + height * 3 / 4])
        regions[box_mask(shape, middle)] = level + 1
    return regions


def _slope(window: np.ndarray, regions: np.ndarray) -> float:
    """Return the slope of the variogram; NaN if a region has no pair of pixels, or only equal ones."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = variogram_slope(window, regions) if regions.any() else np.nan
    return slope if np.isfinite(slope) else np.nan

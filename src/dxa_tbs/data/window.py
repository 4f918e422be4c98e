"""The square window of a frame that a network sees, and the position of the region of interest in it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dxa_tbs.config.choices import Fit

MIN_SHARE_SHOWN = 1 / 3  # of the box, or of a frame without a box; if a window shows less, the user is warned


def crop_frame(frame: np.ndarray, roi: np.ndarray, size_px: int) -> np.ndarray:
    """Return the square window centred on `roi` (x0, y0, x1, y1 in pixels), or on the frame if `roi` is NaN.

    The window stays within the frame; a smaller frame is padded with black.
    """
    left, top = crop_corner(frame.shape, roi, size_px)
    window = frame[max(top, 0) : top + size_px, max(left, 0) : left + size_px]
    missing = [(size_px - size) for size in window.shape]
    return np.pad(window, [(gap // 2, gap - gap // 2) for gap in missing])


def crop_corner(shape: tuple[int, ...], roi: np.ndarray, size_px: int) -> tuple[int, int]:
    """Return column and row of the window's upper left pixel in a frame of this shape; negative where it is padded."""
    height, width = shape
    centre_x, centre_y = (width / 2, height / 2) if np.isnan(roi).any() else (roi[[0, 2]].mean(), roi[[1, 3]].mean())
    left = int(np.clip(round(centre_x - size_px / 2), 0, max(0, width - size_px)))
    top = int(np.clip(round(centre_y - size_px / 2), 0, max(0, height - size_px)))
    return left - max(0, size_px - width) // 2, top - max(0, size_px - height) // 2


def resize_frame(frame: np.ndarray, size_px: int) -> np.ndarray:
    """Return the whole frame at size_px x size_px, bilinear and antialiased; this changes its texture."""
    return np.asarray(Image.fromarray(frame).resize((size_px, size_px), Image.Resampling.BILINEAR))


def box_in_window(shape: tuple[int, ...], roi: np.ndarray, fit: Fit, size_px: int) -> np.ndarray:
    """Return the region of interest in pixels of the window."""
    if fit is Fit.resize:
        return np.asarray(roi * size_px / np.tile(shape[::-1], 2))
    return np.asarray(roi - np.tile(crop_corner(shape, roi, size_px), 2))


def share_shown(shape: tuple[int, ...], roi: np.ndarray, fit: Fit, size_px: int) -> float:
    """Return the share of the region of interest that the window shows, or of the whole frame if `roi` is NaN."""
    if fit is Fit.resize:
        return 1.0
    x0, y0, x1, y1 = (0.0, 0.0, shape[1], shape[0]) if np.isnan(roi).any() else roi
    left, top = crop_corner(shape, roi, size_px)
    width = min(x1, left + size_px) - max(x0, left)
    height = min(y1, top + size_px) - max(y0, top)
    return float(max(0, width) * max(0, height) / ((x1 - x0) * (y1 - y0)))

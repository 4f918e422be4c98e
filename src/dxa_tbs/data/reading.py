"""One window of a cohort: a frame decoded or rendered, checked, brought to 8 bits, cropped and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dxa_tbs.config.choices import Fit, Region
from dxa_tbs.data.depth import MAX_STRAY_SHARE, num_brighter, to_bytes
from dxa_tbs.data.frames import UnusableImage, decode
from dxa_tbs.data.likeness import compute_signature
from dxa_tbs.data.measures import keep_region, measure
from dxa_tbs.data.phantom import render
from dxa_tbs.data.window import box_in_window, crop_frame, resize_frame, share_shown

MIN_SIDE_PX = 32  # a smaller frame shows no spine
MIN_BOX_PX = 8  # a smaller box cannot surround L1-L4: perhaps it is not given in pixels

Source = Path | render.Candidate


@dataclass(frozen=True)
class Window:
    """The window of one frame, and what was measured on the way.

    Attributes:
        image: uint8 (S, S).
        measures: see `measures`.
        shape: height and width of the frame.
        signature: of the whole frame, int8 (512,).
        share_shown: share of the box around L1-L4, or of a frame without a box, that lies in the window.
        num_stray: number of pixels too bright for the bits in use, which are shown as white.
    """

    image: np.ndarray
    measures: dict[str, float]
    shape: tuple[int, ...]
    signature: np.ndarray
    share_shown: float
    num_stray: int


def read_window(
    source: Source, roi: np.ndarray, *, fit: Fit, size_px: int, region: Region, bits: int, measures_box: bool
) -> Window | str:
    """Return the window of one frame, or why the frame cannot be used.

    Args:
        roi: the box around L1-L4 as x0, y0, x1, y1 in pixels of the frame; NaN: there is none.
        bits: bits in use in 16-bit files.
        measures_box: whether the measures of the box are wanted.
    """
    if not isinstance(source, Path):
        frame = render.read_frame(source)
    else:
        try:
            frame = decode(source)
        except UnusableImage as reason:
            return str(reason)
    height, width = frame.shape
    if min(height, width) < MIN_SIDE_PX:
        return f"is too small for an image of a spine: {width} x {height} pixels"
    num_stray = 0
    if frame.dtype == np.uint16:
        num_stray = num_brighter(frame, bits)
        if num_stray > MAX_STRAY_SHARE * frame.size:
            return f"has pixels up to {frame.max()}, more than dataset.bits={bits} allows (in all: {num_stray})"
        frame = to_bytes(frame, bits)
    if not np.isnan(roi).any() and not (0 <= roi[0] < roi[2] <= width and 0 <= roi[1] < roi[3] <= height):
        return f"has a region {roi.tolist()} that is not x0 < x1, y0 < y1 inside {width} x {height} pixels"
    if min(roi[2] - roi[0], roi[3] - roi[1]) < MIN_BOX_PX:
        return f"has a region {roi.tolist()} under {MIN_BOX_PX} pixels wide or high: give pixels of the upright image"
    image = resize_frame(frame, size_px) if fit is Fit.resize else crop_frame(frame, roi, size_px)
    if image.min() == image.max():
        return f"shows nothing: every pixel is {image.min()}"
    box = box_in_window(frame.shape, roi, fit, size_px)
    measures = measure(image, box if measures_box else np.full(4, np.nan))
    image = image if region is Region.whole else keep_region(image, box, region)
    shown = share_shown(frame.shape, roi, fit, size_px)
    return Window(image, measures, (height, width), compute_signature(frame), shown, num_stray)

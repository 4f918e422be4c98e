"""A sheet of examples: training images, and the same images after each operation of an augmentation."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from dxa_tbs.report.figures.drawing import new_figure, save

WIDTH_OF_NAMES = 21  # characters
SIZE = 1.55  # inches of an image

Captioned = tuple[np.ndarray, str]  # an image, uint8 (H, W), and the text above it


def draw_sheet(path: Path, names: Sequence[str], rows: Sequence[Sequence[Captioned]], *, marks: Sequence[str]) -> None:
    """Draw one row of images for each name, as `path`.png and `path`.pdf.

    Args:
        names: of the rows.
        rows: as many images in each.
        marks: lines at the foot.
    """
    columns = len(rows[0])
    figure, axes = new_figure(SIZE * columns + 1.5, (SIZE + 0.17) * len(rows) + 0.6, rows=len(rows), columns=columns)
    for line, (name, images) in enumerate(zip(names, rows, strict=True)):
        for column, (image, caption) in enumerate(images):
            place = axes[line * columns + column]
            _show(place, image, caption)
            if column == 0:
                parts = re.split(r" (?=\(|then )", name)
                wrapped = "\n".join(textwrap.fill(part, WIDTH_OF_NAMES) for part in parts)
                place.set_ylabel(wrapped, fontsize=8, rotation=0, ha="right", va="center")
    save(figure, path, marks=marks)


def _show(place: Axes, image: np.ndarray, caption: str) -> None:
    place.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
    place.set_title(caption, fontsize=8, pad=2)
    place.set_xticks([])
    place.set_yticks([])
    for spine in place.spines.values():
        spine.set_visible(False)

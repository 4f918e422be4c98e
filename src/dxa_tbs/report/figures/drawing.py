"""Canvas, colours, labels and notes that all figures share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#595959"  # of the Okabe-Ito palette: safe for colour-blind readers
PALETTE = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
CHARACTERS_PER_INCH = 16  # of the notes at the foot
STYLE: Any = {"axes.grid": False, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}


def new_figure(width: float, height: float, *, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def save(figure: Figure, path: Path, *, marks: Sequence[str]) -> None:
    """Write `path`.png and `path`.pdf, the same bytes for the same figure; `marks` are lines of notes at its foot."""
    if marks:
        width = int(figure.get_size_inches()[0] * CHARACTERS_PER_INCH)
        lines = [line for mark in marks for line in textwrap.wrap(mark, width)]
        figure.supxlabel("\n".join(lines), fontsize=8, color=GREY)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        layout = figure.get_layout_engine()
        assert layout is not None
        for _ in range(2):  # panels of a fixed shape take their place at the second time
            layout.execute(figure)
        figure.set_layout_engine("none")  # not again for each format
        figure.savefig(path.with_suffix(".png"), dpi=150, metadata={"Software": None})
        figure.savefig(
            path.with_suffix(".pdf"), dpi=150, metadata={"CreationDate": None, "Producer": None, "Creator": None}
        )

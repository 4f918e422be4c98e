"""Reliability diagrams."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from dxa_tbs.report.documents import NotMadeError
from dxa_tbs.report.figures.approaches import (
    HALVES,
    MAX_COLUMNS,
    colours_of,
    figure_label,
    notes_of_study,
    title_height,
)
from dxa_tbs.report.figures.drawing import GREY, new_figure, save
from dxa_tbs.report.study import Study

TITLE_WIDTH = 34  # characters above a panel


def draw_reliability(path: Path, study: Study) -> None:
    """Draw the observed share of Degraded against the mean score, with counts, a panel per experiment."""
    bins = study.numbers("reliability")
    shown = [one for one in study.experiments if not bins.empty and (bins["run"] == one.folder).any()]
    if not shown:
        raise NotMadeError("no experiment has test images of both classes")
    colours = colours_of(study.experiments)
    columns = min(MAX_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    titles = [figure_label(one, width=TITLE_WIDTH) for one in shown]
    height = (3.0 + title_height(titles)) * rows + 0.4
    figure, places = new_figure(2.6 * columns + 0.3, height, rows=rows, columns=columns)
    for axes in places[len(shown) :]:
        axes.set_axis_off()
    for axes, one, title in zip(places, shown, titles, strict=False):
        _draw_bins(axes, bins[bins["run"] == one.folder], colours[one.approach])
        axes.set_title(title, fontsize=9)
    for row in range(rows):
        places[row * columns].set_ylabel("share Degraded")
    notes = [*notes_of_study(study), "first seed; bins of equal counts (given); Wilson intervals"]
    save(figure, path, marks=notes)


def _draw_bins(axes: Axes, bins: pd.DataFrame, colour: str) -> None:
    errors = [bins["value"] - bins["low"], bins["high"] - bins["value"]]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    axes.errorbar(bins["mean_score"], bins["value"], errors, fmt="o", color=colour, markersize=4, linewidth=1)
    for row in bins.itertuples():
        axes.annotate(str(row.count), (row.mean_score, row.high), (0, 2), textcoords="offset points",
                      fontsize=6, ha="center", color=GREY, annotation_clip=False)  # fmt: skip
    axes.set(aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.08), xlabel="mean score", xticks=HALVES, yticks=HALVES)
    axes.tick_params(labelsize=8)

"""Fig. 4 of the paper: sensitivity, F1 and training time of the best experiments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.figures.approaches import APPROACHES, colours_of, figure_label, notes_of_study
from dxa_tbs.report.figures.drawing import new_figure, save
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.report.study import Study

MIN_F1 = 0.7  # of the paper's Fig. 4
MOST_NAMES = 8  # in a panel; more points have numbers, which the notes explain
NAME_WIDTH = 34  # characters


class Point(NamedTuple):
    name: str
    approach: str
    sensitivity: float
    f1: float
    time_s: float


def draw_figure_4(path: Path, study: Study) -> None:
    """Draw sensitivity against F1, the diameter by the time of ten epochs, ours and the paper's side by side."""
    printed = [
        Point(model, table.approach, row.sensitivity, row.f1, row.time_10_epochs_s)
        for table in RESULTS
        for model, row in table.rows.items()
    ]
    ours = [_point(one) for one in study.experiments]
    colours = colours_of(study.experiments)
    figure, places = new_figure(11.0, 5.6, columns=2)
    shown = [[point for point in points if point.f1 > MIN_F1] for points in (ours, printed)]
    key = []
    if len(shown[0]) > MOST_NAMES:
        key = ["; ".join(f"{place}: {point.name}" for place, point in enumerate(shown[0], start=1))]
        shown[0] = [point._replace(name=str(place)) for place, point in enumerate(shown[0], start=1)]
    xlim, ylim = (
        (min(values) - 0.03, max(values) + 0.03)
        for values in zip(*((point.sensitivity, point.f1) for points in shown for point in points), strict=True)
    )
    titles = (f"ours: {len(shown[0])} of {len(ours)}", f"the paper, as printed: {len(shown[1])} of {len(printed)}")
    for axes, points, title in zip(places, shown, titles, strict=True):
        _draw_bubbles(axes, points, colours)
        axes.set_title(f"{title} with F1 above {MIN_F1}", fontsize=11)
        axes.set(xlabel="sensitivity", ylabel="F1-score", xlim=xlim, ylim=ylim)
    for approach, colour in colours.items():
        text = f"approach {APPROACHES.get(approach, approach)}"
        places[0].scatter([], [], s=60, color=colour, alpha=0.6, label=text)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    notes = [*key, *notes_of_study(study), "diameter: time of ten epochs, within each panel; x: not timed"]
    save(figure, path, marks=notes)


def _point(one: Experiment) -> Point:
    sensitivity, f1 = (one.estimates[name].value for name in ("sensitivity", "f1"))
    time_s = float(np.mean(one.times_s)) if one.times_s.size else math.nan
    return Point(figure_label(one, width=NAME_WIDTH), one.approach, sensitivity, f1, time_s)


def _draw_bubbles(axes: Axes, points: Sequence[Point], colours: Mapping[str, str]) -> None:
    times = [time for *_, time in points if not math.isnan(time)]
    longest = max(times, default=1.0)
    for place, (name, approach, sensitivity, f1, time) in enumerate(sorted(points, key=lambda point: -point[3])):
        diameter_pt = 8.0
        if math.isnan(time):
            axes.plot(sensitivity, f1, "x", color=colours[approach], markersize=diameter_pt)
        else:
            diameter_pt = 4 + 46 * time / longest
            axes.scatter(sensitivity, f1, s=diameter_pt**2, color=colours[approach], alpha=0.5, linewidth=0)
            axes.plot(sensitivity, f1, ".", color="black", markersize=3)
        text = name if math.isnan(time) else f"{name}, {time:.0f} s"
        is_above = place % 2 == 0
        offset = (0, (diameter_pt / 2 + 3) * (1 if is_above else -1))
        vertical = "bottom" if is_above else "top"
        axes.annotate(text, (sensitivity, f1), offset, textcoords="offset points", fontsize=8, ha="center", va=vertical)
    if not points:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)

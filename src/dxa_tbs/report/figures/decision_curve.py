"""Decision curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from dxa_tbs.report.documents import NotMadeError
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.figures.approaches import figure_label, notes_of_study
from dxa_tbs.report.figures.drawing import GREY, PALETTE, new_figure, save
from dxa_tbs.report.study import Study

MAX_COLUMNS = 4
NAME_WIDTH = 60  # characters


def draw_decision_curves(path: Path, study: Study) -> None:
    """Draw net benefit against the risk from which one would act, in panels of one approach and test set."""
    curves = study.numbers("decision_curve")
    if curves.empty:
        raise NotMadeError("no experiment has test images of both classes")
    shown: dict[tuple[str, str], list[Experiment]] = {}
    for one in study.experiments:
        if (curves["run"] == one.folder).any():
            shown.setdefault((one.approach, one.test_set), []).append(one)
    panels = [
        chosen[start : start + len(PALETTE)]
        for chosen in shown.values()
        for start in range(0, len(chosen), len(PALETTE))
    ]
    columns = min(MAX_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, places = new_figure(4.2 * columns + 0.3, 5.2 * rows, rows=rows, columns=columns)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, chosen in zip(places, panels, strict=False):
        _draw_panel(axes, chosen, curves)
    for row in range(rows):
        places[row * columns].set_ylabel("net benefit")
    save(figure, path, marks=notes_of_study(study))


def _draw_panel(axes: Axes, chosen: Sequence[Experiment], curves: pd.DataFrame) -> None:
    """Draw experiments of one approach and test set, at most as many as there are colours."""
    for colour, one in zip(PALETTE, chosen, strict=False):
        part = curves[curves["run"] == one.folder]
        axes.plot(
            part["risk"], part["net_benefit"], color=colour, linewidth=1.4, label=figure_label(one, width=NAME_WIDTH)
        )
    everybody = curves[(curves["run"] == "") & (curves["test_set"] == chosen[0].test_set)]
    axes.plot(everybody["risk"], everybody["net_benefit"], color=GREY, linestyle="--", label="call all Degraded")
    axes.axhline(0, color="black", linewidth=0.8, label="call none")
    highest = max(0.05, float(curves["net_benefit"].max()))
    axes.set(xlabel="risk from which one would act", ylim=(-0.3 * highest, 1.1 * highest), xlim=(0, 1))
    of_set = f", {chosen[0].set_name}" if chosen[0].set_name else ""
    axes.set_title(f"approach {chosen[0].approach}{of_set}", fontsize=10)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14))

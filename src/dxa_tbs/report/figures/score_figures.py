"""Figures of the scores: reliability diagrams and decision curves, one panel per experiment or approach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dxa_tbs.report.figures.drawing import GREY, PALETTE, new_figure, save
from dxa_tbs.report.figures.paper_figures import HALVES, MAX_COLUMNS, approaches_of
from dxa_tbs.report.footnotes import title
from dxa_tbs.report.runs import Experiment


def draw_reliability(
    folder: Path, experiments: Sequence[Experiment], bins: pd.DataFrame, *, marks: Sequence[str]
) -> None:
    """Draw the observed share of Degraded against the mean score, with counts, a panel per experiment.

    Args:
        bins: the numbers of `operating_points.reliability_document`.
    """
    shown = [one for one in experiments if not bins.empty and (bins["run"] == one.folder).any()]
    if not shown:
        return
    colours = approaches_of(experiments)
    columns = min(MAX_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, places = new_figure(2.6 * columns + 0.3, 3.0 * rows + 0.4, rows=rows, columns=columns)
    for axes in places[len(shown) :]:
        axes.set_axis_off()
    for axes, one in zip(places, shown, strict=False):
        part = bins[bins["run"] == one.folder]
        errors = [part["value"] - part["low"], part["high"] - part["value"]]
        colour = colours[one.approach]
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        axes.errorbar(part["mean_score"], part["value"], errors, fmt="o", color=colour, markersize=4, linewidth=1)
        for row in part.itertuples():
            axes.annotate(str(row.count), (row.mean_score, row.high), (0, 2), textcoords="offset points",
                          fontsize=6, ha="center", color=GREY, annotation_clip=False)  # fmt: skip
        axes.set_title(title(one), fontsize=9)
        axes.set(
            aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.08), xlabel="mean score", xticks=HALVES, yticks=HALVES
        )
        axes.tick_params(labelsize=8)
    for row in range(rows):
        places[row * columns].set_ylabel("share Degraded")
    save(figure, folder / "reliability", marks=[*marks, "first seed; bins of equal counts (given); Wilson intervals"])


def draw_decision_curves(
    folder: Path, experiments: Sequence[Experiment], curves: pd.DataFrame, *, marks: Sequence[str]
) -> None:
    """Draw net benefit against the risk from which one would act, a panel per approach and test set.

    Args:
        curves: the numbers of `operating_points.decision_document`.
    """
    if curves.empty:
        return
    shown: dict[tuple[str, str], list[Experiment]] = {}
    for one in experiments:
        if (curves["run"] == one.folder).any():
            shown.setdefault((one.approach, one.test_set), []).append(one)
    figure, places = new_figure(4.2 * len(shown) + 0.3, 4.2, columns=len(shown))
    for axes, ((approach, test_set), chosen) in zip(places, shown.items(), strict=True):
        for colour, one in zip(PALETTE * len(chosen), chosen, strict=False):
            part = curves[curves["run"] == one.folder]
            axes.plot(part["risk"], part["net_benefit"], color=colour, linewidth=1.4, label=title(one))
        everybody = curves[(curves["run"] == "") & (curves["test_set"] == test_set)]
        axes.plot(everybody["risk"], everybody["net_benefit"], color=GREY, linestyle="--", label="call all Degraded")
        axes.axhline(0, color="black", linewidth=0.8, label="call none")
        highest = max(0.05, float(curves["net_benefit"].max()))
        axes.set(xlabel="risk from which one would act", ylim=(-0.3 * highest, 1.1 * highest), xlim=(0, 1))
        axes.set_title(f"approach {approach}" + (f", {chosen[0].set_name}" if chosen[0].set_name else ""), fontsize=10)
        axes.legend(fontsize=7, frameon=False)
    places[0].set_ylabel("net benefit")
    save(figure, folder / "decision_curve", marks=marks)

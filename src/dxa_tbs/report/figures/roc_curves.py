"""ROC curves of all experiments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from dxa_tbs.evaluation.roc import GRID, roc_band
from dxa_tbs.report.documents import NotMadeError
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.figures.approaches import (
    HALVES,
    MAX_COLUMNS,
    colours_of,
    figure_label,
    notes_of_study,
    title_height,
)
from dxa_tbs.report.figures.drawing import GREY, new_figure, save
from dxa_tbs.report.labels import sampling_units
from dxa_tbs.report.study import Study

BAND_RESAMPLES = 400
TITLE_WIDTH = 38  # characters above a panel


def draw_roc_curves(path: Path, study: Study) -> None:
    """Draw each experiment's test ROC curve, mean over seeds, with its bootstrap band; each approach begins a row."""
    colours = colours_of(study.experiments)
    lines = _lines([one for one in study.experiments if one.scored.has_both_classes], list(colours))
    if not lines:
        raise NotMadeError("no experiment has test images of both classes")
    columns = max(map(len, lines))
    titles = [figure_label(one, width=TITLE_WIDTH) for chosen in lines for one in chosen]
    height = (3.3 + title_height(titles)) * len(lines) + 0.4
    figure, places = new_figure(2.9 * columns + 0.3, height, rows=len(lines), columns=columns)
    for axes in places:
        axes.set_axis_off()
    for line, chosen in enumerate(lines):
        for column, experiment in enumerate(chosen):
            axes = places[line * columns + column]
            axes.set_axis_on()
            _draw_curve(axes, experiment, colours[experiment.approach])
            if column == 0:
                axes.set_ylabel("sensitivity")
    units = sampling_units(study.experiments)
    band = f"AUC with its 95 % interval; band: 95 %, these trained networks on other {units}"
    save(figure, path, marks=[*notes_of_study(study), band])


def _lines(experiments: Sequence[Experiment], approaches: Sequence[str]) -> list[list[Experiment]]:
    """Return the experiments in lines of at most MAX_COLUMNS, each of one approach."""
    by_approach = ([one for one in experiments if one.approach == name] for name in approaches)
    return [part[start : start + MAX_COLUMNS] for part in by_approach for start in range(0, len(part), MAX_COLUMNS)]


def _draw_curve(axes: Axes, experiment: Experiment, colour: str) -> None:
    curve, low, high = roc_band(experiment.scored, resamples=BAND_RESAMPLES)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    axes.fill_between(GRID, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(GRID, curve, color=colour, linewidth=1.6)
    auc = experiment.estimates["auc"]
    interval = "" if math.isnan(auc.low) else f" ({auc.low:.3f} to {auc.high:.3f})"
    axes.set_title(f"{figure_label(experiment, width=TITLE_WIDTH)}\n{auc.value:.3f}{interval}", fontsize=9)
    axes.set(aspect="equal", xlim=(0, 1), ylim=(0, 1.01), xlabel="1 - specificity", xticks=HALVES, yticks=HALVES)
    axes.tick_params(labelsize=8)

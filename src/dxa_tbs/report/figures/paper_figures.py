"""The paper's figures from finished runs, and the curves and intervals it lacks. PNG and PDF, Okabe-Ito colours."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dxa_tbs.evaluation.roc import GRID, roc_band
from dxa_tbs.report.figures.drawing import GREY, PALETTE, new_figure, save
from dxa_tbs.report.footnotes import title, units_of
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.report.runs import Experiment
from dxa_tbs.runs.files import read_csv

APPROACHES = {"full": "1: retrained whole", "head": "2: last layer retrained", "adhoc": "3: ad hoc"}
MIN_F1 = 0.7  # of the paper's Fig. 4
BAND_RESAMPLES = 400
MAX_COLUMNS = 5
HALVES = (0, 0.5, 1)


def approaches_of(experiments: Sequence[Experiment]) -> dict[str, str]:
    """Return the colour of each approach: the paper's three always have theirs, the user's own follow by name."""
    own = sorted({one.approach for one in experiments} - APPROACHES.keys())
    return dict(zip([*APPROACHES, *own], itertools.cycle(PALETTE), strict=False))


def draw_figure_4(folder: Path, experiments: Sequence[Experiment], *, marks: Sequence[str]) -> None:
    """Draw sensitivity against F1, the diameter by the time of ten epochs, ours and the paper's side by side."""
    printed = [
        (model, table.approach, row.sensitivity, row.f1, row.time_10_epochs_s)
        for table in RESULTS
        for model, row in table.rows.items()
    ]
    ours = [
        (title(one), one.approach, one.estimates["sensitivity"].value, one.estimates["f1"].value, _time_s(one))
        for one in experiments
    ]
    colours = approaches_of(experiments)
    figure, places = new_figure(11.0, 5.6, columns=2)
    both = [[point for point in points if point[3] > MIN_F1] for points in (ours, printed)]
    reach = [[point[2] for shown in both for point in shown], [point[3] for shown in both for point in shown]]
    for axes, shown, points, name in zip(places, both, (ours, printed), ("ours", "the paper, as printed"), strict=True):
        _bubbles(axes, shown, colours)
        axes.set_title(f"{name}: {len(shown)} of {len(points)} with F1 above {MIN_F1}", fontsize=11)
        limits = [(min(values) - 0.03, max(values) + 0.03) for values in reach]
        axes.set(xlabel="sensitivity", ylabel="F1-score", xlim=limits[0], ylim=limits[1])
    for approach, colour in colours.items():
        label = f"approach {APPROACHES.get(approach, approach)}"
        places[0].scatter([], [], s=60, color=colour, alpha=0.6, label=label)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    save(figure, folder / "figure_4", marks=[*marks, "diameter: time of ten epochs, within each panel; x: not timed"])


def draw_roc_curves(folder: Path, experiments: Sequence[Experiment], *, marks: Sequence[str]) -> None:
    """Draw each experiment's test ROC curve, mean over seeds, with its bootstrap band; each approach begins a row."""
    both = [one for one in experiments if len(np.unique(one.scored.labels)) == 2]  # one class alone has no curve
    colours = approaches_of(experiments)
    by_approach = ([one for one in both if one.approach == name] for name in colours)
    shown = [part[place : place + MAX_COLUMNS] for part in by_approach for place in range(0, len(part), MAX_COLUMNS)]
    if not shown:
        return
    columns = max(map(len, shown))
    figure, places = new_figure(2.9 * columns + 0.3, 3.3 * len(shown) + 0.4, rows=len(shown), columns=columns)
    for axes in places:
        axes.set_axis_off()
    for line, chosen in enumerate(shown):
        for column, experiment in enumerate(chosen):
            axes = places[line * columns + column]
            axes.set_axis_on()
            scored = experiment.scored
            curve, low, high = roc_band(scored, resamples=BAND_RESAMPLES)
            colour = colours[experiment.approach]
            axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
            axes.fill_between(GRID, low, high, color=colour, alpha=0.25, linewidth=0)
            axes.plot(GRID, curve, color=colour, linewidth=1.6)
            auc = experiment.estimates["auc"]
            interval = "" if math.isnan(auc.low) else f" ({auc.low:.3f} to {auc.high:.3f})"
            axes.set_title(f"{title(experiment)}\n{auc.value:.3f}{interval}", fontsize=9)
            axes.set(
                aspect="equal", xlim=(0, 1), ylim=(0, 1.01), xlabel="1 - specificity", xticks=HALVES, yticks=HALVES
            )
            axes.tick_params(labelsize=8)
            if column == 0:
                axes.set_ylabel("sensitivity")
    band = f"AUC with its 95 % interval; band: 95 %, these trained networks on other {units_of(experiments)}"
    save(figure, folder / "roc_curves", marks=[*marks, band])


def draw_forest(folder: Path, experiments: Sequence[Experiment], *, marks: Sequence[str]) -> None:
    """Draw F1 with its 95 % interval, by approach and value, the paper's value beside it."""
    printed = {(table.approach, model): row.f1 for table in RESULTS for model, row in table.rows.items()}
    colours = approaches_of(experiments)
    order = sorted(experiments, key=lambda one: (list(colours).index(one.approach), -one.estimates["f1"].value))
    figure, (axes,) = new_figure(7.5, 1.6 + 0.32 * len(order))
    for place, experiment in enumerate(order):
        estimate, colour = experiment.estimates["f1"], colours[experiment.approach]
        axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2)
        axes.plot(estimate.value, place, "o", color=colour, markersize=6)
        if experiment.is_papers:
            paper = printed[experiment.approach, experiment.model]
            axes.plot(paper, place, "D", markerfacecolor="white", markeredgecolor="black", markersize=5)
        text = f"{estimate.value:.3f}"
        axes.text(1.02, place, text, va="center", fontsize=9, transform=axes.get_yaxis_transform())
    axes.plot([], [], "o-", color=GREY, label="ours, 95 % interval")
    axes.plot([], [], "D", markerfacecolor="white", markeredgecolor="black", linestyle="", label="paper")
    names = [f"{title(one)}  (n={len(one.scored.labels)}, seeds={len(one.seeds)})" for one in order]
    axes.set_yticks(range(len(order)), names)
    axes.set(xlabel="F1-score", xlim=(-0.02, 1))
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    save(figure, folder / "forest_f1", marks=marks)


def draw_figure_3(folder: Path, experiments: Sequence[Experiment], root: Path) -> bool:
    """Draw the ad hoc networks from the layers their runs recorded; return whether there was any."""
    chosen = {
        one.model: one
        for one in experiments
        if one.approach == "adhoc" and (root / one.folder / "layers.csv").is_file()
    }
    if not chosen:
        return False
    figure, places = new_figure(11.0, 2.5 * len(chosen), rows=len(chosen))
    for axes, (model, experiment) in zip(places, sorted(chosen.items()), strict=True):
        layers = read_csv(root / experiment.folder / "layers.csv")
        _network(axes, layers)
        axes.set_title(f"{model}: {int(layers['parameters'].sum()):,} parameters", loc="left", fontsize=10)
    save(
        figure,
        folder / "figure_3",
        marks=["boxes of images: height by side in pixels, width by channels, both by their root"],
    )
    return True


def copy_run_figures(folder: Path, experiments: Sequence[Experiment], root: Path) -> list[str]:
    """Copy Fig. 1 (frame and crop) and Fig. 2 (augmentation) from the first run that drew them; return what lacks."""
    lacking = []
    for number, name in ((1, "frame_and_crop"), (2, "augmentation")):
        places = [root / one.folder / "figures" for one in experiments]
        drawn = [place for place in places if (place / f"{name}.pdf").is_file()]
        for suffix in ("png", "pdf"):
            if drawn:
                shutil.copyfile(drawn[0] / f"{name}.{suffix}", folder / f"figure_{number}.{suffix}")
        lacking += [] if drawn else [f"Fig. {number}: no run drew it"]
    return lacking


def _time_s(experiment: Experiment) -> float:
    return float(np.mean(experiment.times_s)) if experiment.times_s.size else math.nan


def _bubbles(axes: Axes, points: Sequence[tuple[str, str, float, float, float]], colours: Mapping[str, str]) -> None:
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


def _network(axes: Axes, layers: pd.DataFrame) -> None:
    """Draw one box per layer that changes the shape, from left to right, with its name and what comes out of it."""
    shown = layers[layers["kind"].isin(["Conv2d", "MaxPool2d", "Flatten", "Linear"])]
    left = 0.0
    for layer in [{"layer": "image", "kind": "Input", "output_shape": "3x224x224"}, *shown.to_dict("records")]:
        sizes = [int(size) for size in str(layer["output_shape"]).split("x")]
        height, width = (math.sqrt(sizes[1]), math.sqrt(sizes[0]) / 4) if len(sizes) == 3 else (math.sqrt(224), 0.6)
        colour = {"Input": GREY, "Conv2d": PALETTE[0], "MaxPool2d": PALETTE[2], "Linear": PALETTE[1]}.get(
            layer["kind"], GREY
        )
        axes.add_patch(Rectangle((left, -height / 2), width, height, facecolor=colour, alpha=0.65, edgecolor="black"))
        text = f"{layer['layer']}\n{layer['output_shape']}"
        axes.text(left + width / 2, -height / 2 - 0.8, text, ha="center", va="top", fontsize=6.5, rotation=0)
        left += width + 3.2
    axes.set(xlim=(-2, left), ylim=(-12.5, 8.5))
    axes.set_axis_off()

"""Fig. 3 of the paper: the layers of the ad hoc networks."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dxa_tbs.report.documents import NotMadeError
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.figures.drawing import GREY, PALETTE, new_figure, save
from dxa_tbs.report.labels import label
from dxa_tbs.report.study import Study
from dxa_tbs.runs.files import LAYERS_CSV
from dxa_tbs.runs.records import read_layers

DRAWN = ("Conv2d", "MaxPool2d", "Flatten", "Linear")  # kinds of layers that change the shape
MOST_LAYERS = 20  # of a network that can still be read


def draw_figure_3(path: Path, study: Study) -> None:
    """Draw the ad hoc networks from the layers that their runs recorded."""
    drawn = _distinct_networks(study)
    if not drawn:
        raise NotMadeError("no ad hoc network was run")
    networks = [one.model for one, _ in drawn]
    figure, places = new_figure(11.0, 2.5 * len(drawn), rows=len(drawn))
    for axes, (experiment, layers) in zip(places, drawn, strict=True):
        _draw_network(axes, layers[_is_drawn(layers)], _input_shape(experiment))
        name = experiment.model if networks.count(experiment.model) == 1 else label(experiment)
        axes.set_title(f"{name}: {int(layers['parameters'].sum()):,} parameters", loc="left", fontsize=10)
    save(figure, path, marks=["boxes of images: height by side in pixels, width by channels, both by their root"])


def _distinct_networks(study: Study) -> list[tuple[Experiment, pd.DataFrame]]:
    """Return the first experiment of each ad hoc network with its layers; deep ones are left out."""
    found: list[tuple[Experiment, pd.DataFrame]] = []
    for one in study.experiments:
        if one.approach == "adhoc" and (study.root / one.folder / LAYERS_CSV).is_file():
            layers = read_layers(study.root / one.folder)
            is_known = any(one.model == other.model and layers.equals(known) for other, known in found)
            if not is_known and _is_drawn(layers).sum() <= MOST_LAYERS:
                found.append((one, layers))
    return found


def _is_drawn(layers: pd.DataFrame) -> pd.Series:
    return layers["kind"].isin(DRAWN) & (layers["output_shape"] != "")


def _input_shape(experiment: Experiment) -> str:
    config = experiment.first.config
    size_px = config["preprocessing"]["size_px"]
    return f"{len(config['model']['input_mean'])}x{size_px}x{size_px}"


def _draw_network(axes: Axes, layers: pd.DataFrame, input_shape: str) -> None:
    """Draw a box for each layer, from left to right, with its name and output shape."""
    left = 0.0
    for layer in [{"layer": "image", "kind": "Input", "output_shape": input_shape}, *layers.to_dict("records")]:
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

"""Forest plot of F1."""

from __future__ import annotations

from pathlib import Path

from dxa_tbs.report.figures.approaches import colours_of, figure_label, notes_of_study, title_height
from dxa_tbs.report.figures.drawing import GREY, new_figure, save
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.report.study import Study

NAME_WIDTH = 42  # characters


def draw_forest(path: Path, study: Study) -> None:
    """Draw F1 with its 95 % interval and the paper's value, ordered by approach and F1."""
    printed = {(table.approach, model): row.f1 for table in RESULTS for model, row in table.rows.items()}
    colours = colours_of(study.experiments)
    order = sorted(study.experiments, key=lambda one: (list(colours).index(one.approach), -one.estimates["f1"].value))
    names = [f"{figure_label(one, width=NAME_WIDTH)}  (n={len(one.scored.labels)})" for one in order]
    figure, (axes,) = new_figure(7.5, 1.6 + (0.32 + title_height(names)) * len(order))
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
    axes.set_yticks(range(len(order)), names)
    axes.set(xlabel="F1-score", xlim=(-0.02, 1))
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    save(figure, path, marks=notes_of_study(study))

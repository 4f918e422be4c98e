"""Decision curves."""

from __future__ import annotations

from pathlib import Path

from dxa_tbs.report.documents import NotMadeError
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.figures.approaches import figure_label, notes_of_study
from dxa_tbs.report.figures.drawing import GREY, PALETTE, new_figure, save
from dxa_tbs.report.study import Study


def draw_decision_curves(path: Path, study: Study) -> None:
    """Draw net benefit against the risk from which one would act, a panel per approach and test set."""
    curves = study.numbers("decision_curve")
    if curves.empty:
        raise NotMadeError("no experiment has test images of both classes")
    shown: dict[tuple[str, str], list[Experiment]] = {}
    for one in study.experiments:
        if (curves["run"] == one.folder).any():
            shown.setdefault((one.approach, one.test_set), []).append(one)
    figure, places = new_figure(4.2 * len(shown) + 0.3, 4.2, columns=len(shown))
    for axes, ((approach, test_set), chosen) in zip(places, shown.items(), strict=True):
        for colour, one in zip(PALETTE * len(chosen), chosen, strict=False):
            part = curves[curves["run"] == one.folder]
            axes.plot(part["risk"], part["net_benefit"], color=colour, linewidth=1.4, label=figure_label(one))
        everybody = curves[(curves["run"] == "") & (curves["test_set"] == test_set)]
        axes.plot(everybody["risk"], everybody["net_benefit"], color=GREY, linestyle="--", label="call all Degraded")
        axes.axhline(0, color="black", linewidth=0.8, label="call none")
        highest = max(0.05, float(curves["net_benefit"].max()))
        axes.set(xlabel="risk from which one would act", ylim=(-0.3 * highest, 1.1 * highest), xlim=(0, 1))
        axes.set_title(f"approach {approach}" + (f", {chosen[0].set_name}" if chosen[0].set_name else ""), fontsize=10)
        axes.legend(fontsize=7, frameon=False)
    places[0].set_ylabel("net benefit")
    save(figure, path, marks=notes_of_study(study))

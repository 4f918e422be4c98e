"""The tables and figures of a report, and the sections of its page.

A new table is a function of a `Study` that returns documents, and an entry in TABLES. A new figure is a function of a
path and a `Study` that saves a drawing, and an entry in FIGURES. Code outside this package hands its own entries to
`write_report(root, tables=(*TABLES, mine), figures=(*FIGURES, mine))`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dxa_tbs.report.documents import Document, check_file_name
from dxa_tbs.report.figures.decision_curve import draw_decision_curves
from dxa_tbs.report.figures.figure_3 import draw_figure_3
from dxa_tbs.report.figures.figure_4 import draw_figure_4
from dxa_tbs.report.figures.forest import draw_forest
from dxa_tbs.report.figures.from_runs import copy_figure_1, copy_figure_2
from dxa_tbs.report.figures.reliability import draw_reliability
from dxa_tbs.report.figures.roc_curves import draw_roc_curves
from dxa_tbs.report.numbers.against_slope import against_slope_tables
from dxa_tbs.report.numbers.calibration import calibration_table, reliability_table
from dxa_tbs.report.numbers.comparisons import comparison_tables
from dxa_tbs.report.numbers.data_card import data_card_table
from dxa_tbs.report.numbers.decision_curve import decision_curve_table
from dxa_tbs.report.numbers.environment import environment_table
from dxa_tbs.report.numbers.errors import errors_table
from dxa_tbs.report.numbers.operating_points import operating_points_table
from dxa_tbs.report.numbers.overview import overview_table
from dxa_tbs.report.numbers.own_experiments import own_experiments_table
from dxa_tbs.report.numbers.paper_tables import other_experiments_table, tables_3_to_5
from dxa_tbs.report.numbers.primary import primary_table
from dxa_tbs.report.numbers.run_list import runs_table
from dxa_tbs.report.numbers.sanity import sanity_tables
from dxa_tbs.report.numbers.stability import stability_table
from dxa_tbs.report.numbers.subgroups import subgroups_table, tbs_bands_table
from dxa_tbs.report.numbers.table_1 import table_1
from dxa_tbs.report.numbers.table_2 import table_2
from dxa_tbs.report.study import Study

SECTIONS = {  # anchor: heading on the page, in order
    "overview": "All experiments",
    "sanity": "Against simple baselines",
    "paper": "The paper's tables",
    "own": "Your experiments",
    "comparisons": "Comparisons",
    "operating": "Operating points",
    "calibration": "Calibration",
    "figures": "The paper's figures",
    "failures": "Failure analysis",
    "data": "Data card and environment",
    "further": "Further tables and figures",
    "runs": "Runs",
}


@dataclass(frozen=True)
class Table:
    """A registered table.

    Attributes:
        make: returns one or several documents, or none if the study has nothing for it. It may raise NotMadeError.
        section: anchor of the page's section that shows it.
        is_papers: whether it belongs to the paper's part, which the command prints.
    """

    name: str
    make: Callable[[Study], Iterable[Document]]
    section: str = "further"
    is_papers: bool = False

    def __post_init__(self) -> None:
        _check(self.name, self.section)


@dataclass(frozen=True)
class Figure:
    """A registered figure.

    Attributes:
        name: of its files, without suffix.
        draw: writes .png and .pdf at a path without suffix. It raises NotMadeError if the study has nothing for it.
        alt: what the figure shows, for readers who cannot see it.
        section: anchor of the page's section that shows it.
    """

    name: str
    draw: Callable[[Path, Study], None]
    alt: str
    section: str = "further"

    def __post_init__(self) -> None:
        _check(self.name, self.section)


def _check(name: str, section: str) -> None:
    check_file_name(name)
    if section not in SECTIONS:
        raise ValueError(f"{name}: section={section}: must be one of {', '.join(SECTIONS)}")


def check_registered(entries: Iterable[Table | Figure]) -> None:
    """Check that no two entries have one name.

    Raises:
        ValueError: names the first that two have.
    """
    seen: set[str] = set()
    for one in entries:
        if one.name in seen:
            raise ValueError(f"{one.name}: registered twice: give one of them another name")
        seen.add(one.name)


TABLES = (
    Table("primary", primary_table, "overview", is_papers=True),
    Table("table_i", table_1, "paper", is_papers=True),
    Table("table_ii", table_2, "paper", is_papers=True),
    Table("tables_iii_to_v", tables_3_to_5, "paper", is_papers=True),
    Table("own_experiments", own_experiments_table, "own", is_papers=True),
    Table("other_experiments", other_experiments_table, "own", is_papers=True),
    Table("sanity", sanity_tables, "sanity", is_papers=True),
    Table("against_slope", against_slope_tables, "sanity", is_papers=True),
    Table("comparison", comparison_tables, "comparisons", is_papers=True),
    Table("stability", stability_table, "comparisons", is_papers=True),
    Table("overview", overview_table, "overview"),
    Table("operating_points", operating_points_table, "operating"),
    Table("calibration", calibration_table, "calibration"),
    Table("reliability", reliability_table, "calibration"),
    Table("decision_curve", decision_curve_table, "operating"),
    Table("tbs_bands", tbs_bands_table, "failures"),
    Table("subgroups", subgroups_table, "failures"),
    Table("errors", errors_table, "failures"),
    Table("runs", runs_table, "runs"),
    Table("data_card", data_card_table, "data"),
    Table("environment", environment_table, "data"),
)
FIGURES = (
    Figure(
        "figure_1",
        copy_figure_1,
        "Fig. 1: a frame with the window that is cut from it, and the window",
        "figures",
    ),
    Figure("figure_2", copy_figure_2, "Fig. 2: training images beside their augmented copies", "figures"),
    Figure("figure_3", draw_figure_3, "Fig. 3: the layers of the ad hoc networks", "figures"),
    Figure(
        "figure_4",
        draw_figure_4,
        "Fig. 4: sensitivity against F1-score, diameter by the time of ten epochs, ours and the paper's; the numbers "
        "are in the tables of results",
        "figures",
    ),
    Figure(
        "roc_curves",
        draw_roc_curves,
        "Test ROC curves with 95 % bands, one panel per experiment; the areas are in the tables of results",
        "comparisons",
    ),
    Figure(
        "forest_f1",
        draw_forest,
        "F1-score of each experiment with its 95 % interval and the paper's value; the numbers are in the tables of "
        "results",
        "overview",
    ),
    Figure(
        "reliability",
        draw_reliability,
        "Reliability diagrams, one panel per experiment; the numbers are in the table of bins",
        "calibration",
    ),
    Figure(
        "decision_curve",
        draw_decision_curves,
        "Decision curves, one panel per approach; the numbers are in the table of net benefit",
        "operating",
    ),
)

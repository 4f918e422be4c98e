"""Labels, colours and notes of the experiments in figures."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Sequence

from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.figures.drawing import PALETTE
from dxa_tbs.report.footnotes import explain_marks, marks_of
from dxa_tbs.report.labels import label
from dxa_tbs.report.study import Study

APPROACHES = {"full": "1: retrained whole", "head": "2: last layer retrained", "adhoc": "3: ad hoc"}
MAX_COLUMNS = 5
LINE_IN = 0.15  # height of a line of text
HALVES = (0, 0.5, 1)  # ticks of an axis of shares


def colours_of(experiments: Sequence[Experiment]) -> dict[str, str]:
    """Return the colour of each approach: the paper's three have fixed ones, others follow by name."""
    own = sorted({one.approach for one in experiments} - APPROACHES.keys())
    return dict(zip([*APPROACHES, *own], itertools.cycle(PALETTE), strict=False))


def figure_label(experiment: Experiment, *, width: int) -> str:
    """Return the label of an experiment with its number of seeds, if several, and its marks in superscript.

    Args:
        width: of a line, in characters.
    """
    text = label(experiment) + (f", {len(experiment.seeds)} seeds" if len(experiment.seeds) > 1 else "")
    text = textwrap.fill(text, width).replace("$", r"\$")
    return text + (rf"$^{{\mathrm{{{marks}}}}}$" if (marks := marks_of(experiment)) else "")


def title_height(titles: Iterable[str]) -> float:
    """Return the height, in inches, that the longest title of a panel needs beyond its first line."""
    return LINE_IN * max((title.count("\n") for title in titles), default=0)


def notes_of_study(study: Study) -> list[str]:
    """Return the notes at the foot of every figure of experiments."""
    return [*study.banner, *explain_marks(study.experiments)]

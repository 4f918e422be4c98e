"""Everything that is made of the runs below a folder: tables, figures, the page. Never imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dxa_tbs.report.documents import Document
from dxa_tbs.report.figures import paper_figures, score_figures
from dxa_tbs.report.footnotes import PARTLY_SYNTHETIC, SYNTHETIC, legend, marks_of
from dxa_tbs.report.numbers import comparisons, operating_points, overview, subgroups
from dxa_tbs.report.numbers.baselines import (
    SLOPE,
    Ground,
    controls_of_none,
    find_grounds,
    sanity_documents,
    without_sanity,
)
from dxa_tbs.report.numbers.paper_tables import comparison_documents, paper_documents
from dxa_tbs.report.numbers.primary import Primary, primary_result
from dxa_tbs.report.outputs import Found, find_experiments
from dxa_tbs.report.page import html
from dxa_tbs.report.page.verdict import choose, verdict
from dxa_tbs.report.runs import Experiment
from dxa_tbs.runs.files import write_csv, write_text

PAPERS = (
    "primary.*",
    "table_*",
    "other_experiments.*",
    "comparison_*",
    "stability.*",
    "sanity*",
    "against_slope*",
    "all.md",
)
FURTHER = ("overview", "operating_points", "calibration", "reliability", "decision_curve", "tbs_bands", "subgroups",
           "errors", "runs", "data_card", "environment")  # fmt: skip
FIGURES = ("figure_[1-4].*", "roc_curves.*", "forest_f1.*", "reliability.*", "decision_curve.*")


@dataclasses.dataclass(frozen=True)
class Made:
    """Attributes: documents: all tables by name; primary: the result the study was made for; compared: every pair of
    experiments on the same images; banner: what a reader must know before all else."""

    documents: dict[str, Document]
    primary: Primary
    grounds: list[Ground]
    compared: pd.DataFrame
    banner: list[str]


def write_report(root: Path, *, prevalence: float | None = None) -> str:
    """Write tables/, figures/, report.html, checklist.md and model_card.md below `root`.

    Args:
        prevalence: share of Degraded for which PPV and NPV are computed; None: that of the test set.

    Returns:
        The paper's tables, sanity rows and comparisons as Markdown.

    Raises:
        Refusal: `root` is no folder, or holds no finished experiment.
    """
    found = find_experiments(root)
    made = make_documents(found, root, prevalence=prevalence)
    missing = found.missing + controls_of_none(made.grounds, found.controls) + without_sanity(made.grounds)
    missing += _draw(root / "figures", found.experiments, root, made)
    write_tables(root / "tables", made.documents, missing)
    html.write_page(
        root,
        made.documents,
        found.experiments,
        verdicts=_verdicts(made),
        chosen=[choose(ground.experiments) for ground in made.grounds],
        missing=missing,
        banner=made.banner,
    )
    first = [document for name, document in made.documents.items() if name not in FURTHER]
    return _markdown(first, missing)


def _verdicts(made: Made) -> list[list[str]]:
    """Return blocks of sentences: the primary result first, or last that there is none."""
    of_grounds = [verdict(ground, made.compared) for ground in made.grounds]
    return [made.primary.lines, *of_grounds] if made.primary.document else [*of_grounds, made.primary.lines]


def make_documents(found: Found, root: Path, *, prevalence: float | None = None) -> Made:
    """Return all tables of the experiments found below `root`."""
    experiments = found.experiments
    synthetic = [bool(one.first.facts["synthetic"]) for one in experiments]
    banner = [SYNTHETIC] if all(synthetic) else [PARTLY_SYNTHETIC] if any(synthetic) else []
    grounds = find_grounds(experiments, found.controls, root)
    primary = primary_result(root, grounds, banner, left_out=found.missing)
    if SLOPE in primary.runs:
        grounds = [dataclasses.replace(ground, primary_run=primary.runs[0]) for ground in grounds]
    compared = comparisons.comparisons(experiments, primary)
    documents = [
        primary.document,
        *paper_documents(experiments, banner),
        *sanity_documents(grounds, banner),
        *comparison_documents(experiments, compared, banner),
        overview.overview_document(experiments, banner),
        operating_points.operating_document(experiments, prevalence, banner),
        operating_points.calibration_document(experiments, banner),
        operating_points.reliability_document(experiments, banner),
        operating_points.decision_document(experiments, banner),
        subgroups.band_document(experiments, banner),
        subgroups.subgroup_document(experiments, banner),
        overview.errors_document(experiments, root, banner),
        overview.runs_document(experiments, banner),
        overview.data_card(experiments, root, banner),
        overview.environment_document(experiments),
    ]
    by_name = {document.name: document for document in documents if document is not None}
    return Made(by_name, primary, grounds, compared, banner)


def write_tables(folder: Path, documents: Mapping[str, Document], missing: Sequence[str]) -> None:
    """Write each document as .csv, .md and .tex, and all of them as all.md; what an earlier call wrote goes."""
    _clear(folder, (*PAPERS, *(f"{name}.*" for name in FURTHER)))
    for document in documents.values():
        write_csv(folder / f"{document.name}.csv", document.numbers)
        write_text(folder / f"{document.name}.md", document.markdown())
        write_text(folder / f"{document.name}.tex", document.latex())
    write_text(folder / "all.md", _markdown(list(documents.values()), missing))


def _markdown(documents: Sequence[Document], missing: Sequence[str]) -> str:
    absent = "\n## Not in the tables\n\n" + "".join(f"- {line}\n" for line in missing) if missing else ""
    return "\n".join(document.markdown() for document in documents) + absent


def _clear(folder: Path, patterns: Sequence[str]) -> None:
    """Make a folder, or remove from it what an earlier call wrote."""
    folder.mkdir(exist_ok=True)
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def _draw(folder: Path, experiments: Sequence[Experiment], root: Path, made: Made) -> list[str]:
    """Draw everything; return what could not be drawn."""
    _clear(folder, FIGURES)
    letters = [letter for one in experiments for letter in marks_of(one)]
    marks = [*made.banner, *([legend(letters)] if letters else [])]
    lacking = paper_figures.copy_run_figures(folder, experiments, root)
    if not paper_figures.draw_figure_3(folder, experiments, root):
        lacking.append("Fig. 3: no ad hoc network was run")
    paper_figures.draw_figure_4(folder, experiments, marks=marks)
    paper_figures.draw_roc_curves(folder, experiments, marks=marks)
    paper_figures.draw_forest(folder, experiments, marks=marks)
    score_figures.draw_reliability(folder, experiments, made.documents["reliability"].numbers, marks=marks)
    score_figures.draw_decision_curves(folder, experiments, made.documents["decision_curve"].numbers, marks=marks)
    return lacking

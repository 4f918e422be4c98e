"""The report of a folder of runs: tables, figures and the page. Never imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from dxa_tbs.report.attempts import Attempts
from dxa_tbs.report.documents import Document
from dxa_tbs.report.footnotes import PARTLY_SYNTHETIC, SYNTHETIC
from dxa_tbs.report.numbers.baselines import SLOPE
from dxa_tbs.report.numbers.comparisons import compare_all
from dxa_tbs.report.numbers.primary import Primary, primary_result
from dxa_tbs.report.numbers.splits import find_splits
from dxa_tbs.report.outputs import Found, find_experiments
from dxa_tbs.report.owned_files import clear_folder
from dxa_tbs.report.page.write import write_page
from dxa_tbs.report.registry import FIGURES, TABLES, Figure, Table, check_registered
from dxa_tbs.report.study import Study
from dxa_tbs.runs.files import write_csv, write_text

NO_PRIMARY = (
    "The primary comparison cannot be made: see what is not in the tables. Every comparison here is exploratory."
)


def write_report(
    root: Path,
    *,
    prevalence: float | None = None,
    tables: Sequence[Table] = TABLES,
    figures: Sequence[Figure] = FIGURES,
) -> str:
    """Write tables/, figures/, report.html, checklist.md and model_card.md below `root`.

    A table, a figure or a part of the page that fails is named under "Not in the tables"; all others are made.

    Args:
        prevalence: share of Degraded for which PPV and NPV are computed; None: that of the test set.
        tables, figures: what the report consists of, in this order.

    Returns:
        The tables of the paper's part, and what is not in the tables, as Markdown.

    Raises:
        Refusal: `root` is not a folder, or holds no finished experiment.
        ValueError: two tables or two figures have one name.
    """
    check_registered(tables)
    check_registered(figures)
    found = find_experiments(root)
    study = make_documents(found, root, prevalence=prevalence, tables=tables)
    attempts = Attempts(study.missing)
    drawn = _draw(study, figures, attempts)
    write_page(study, tables, drawn, attempts)
    write_tables(root / "tables", study.documents.values(), attempts.missing)
    papers = [document for table in tables if table.is_papers for document in study.tables.get(table.name, ())]
    return _markdown(papers, attempts.missing)


def make_documents(
    found: Found,
    root: Path,
    *,
    prevalence: float | None = None,
    tables: Sequence[Table] = TABLES,
) -> Study:
    """Return the study of the experiments below `root`, with its tables; those that fail are named in `missing`."""
    attempts = Attempts(found.missing)
    study = _prepare(found, root, attempts, prevalence)
    taken = {"all"}  # all.md
    made: dict[str, list[Document]] = {}
    for table in tables:
        made[table.name] = attempts.make(f"tables/{table.name}", [], _make_table, table, study, taken)
        taken |= {document.name for document in made[table.name]}
    return dataclasses.replace(study, tables=made, missing=attempts.missing)


def _prepare(found: Found, root: Path, attempts: Attempts, prevalence: float | None) -> Study:
    """Return the experiments below `root` with what several tables share."""
    experiments = found.experiments
    synthetic = [bool(one.first.facts["synthetic"]) for one in experiments]
    banner = [SYNTHETIC] if all(synthetic) else [PARTLY_SYNTHETIC] if any(synthetic) else []
    splits, lacking = find_splits(experiments, found.controls, root)
    primary = attempts.make(
        "primary comparison", Primary([NO_PRIMARY]), primary_result, root, splits, banner, left_out=found.missing
    )
    if SLOPE in primary.runs:
        splits = [dataclasses.replace(split, primary_run=primary.runs[0]) for split in splits]
    compared = attempts.make("comparisons", pd.DataFrame(), compare_all, experiments, primary)
    attempts.missing += lacking
    return Study(root, experiments, found.controls, splits, primary, compared, banner, prevalence)


def _make_table(table: Table, study: Study, taken: set[str]) -> list[Document]:
    """Return the documents of a table; one that cannot be written in some format fails here and not later."""
    documents = list(table.make(study))
    names = [document.name for document in documents]
    for document in documents:
        if document.name in taken or names.count(document.name) > 1:
            raise ValueError(f"another table is called {document.name}")
        _ = document.markdown, document.latex  # rendered now, once
    return documents


def write_tables(folder: Path, documents: Iterable[Document], missing: Sequence[str]) -> None:
    """Write each document as .csv, .md and .tex, and all of them as all.md, in place of an earlier report's."""
    documents = list(documents)
    clear_folder(folder, [f"{one.name}.{suffix}" for one in documents for suffix in ("csv", "md", "tex")] + ["all.md"])
    for document in documents:
        write_csv(folder / f"{document.name}.csv", document.numbers)
        write_text(folder / f"{document.name}.md", document.markdown)
        write_text(folder / f"{document.name}.tex", document.latex)
    write_text(folder / "all.md", _markdown(documents, missing))


def _markdown(documents: Sequence[Document], missing: Sequence[str]) -> str:
    absent = "\n## Not in the tables\n\n" + "".join(f"- {line}\n" for line in missing) if missing else ""
    return "\n".join(document.markdown for document in documents) + absent


def _draw(study: Study, figures: Sequence[Figure], attempts: Attempts) -> list[Figure]:
    """Draw the figures in place of an earlier report's; return those that were drawn."""
    folder = study.root / "figures"
    clear_folder(folder, [f"{one.name}.{suffix}" for one in figures for suffix in ("png", "pdf")])
    return [one for one in figures if attempts.make(f"figures/{one.name}", False, _draw_one, one, study)]


def _draw_one(figure: Figure, study: Study) -> bool:
    path = study.root / "figures" / figure.name
    try:
        figure.draw(path, study)
    except BaseException:
        for suffix in (".png", ".pdf"):
            path.with_suffix(suffix).unlink(missing_ok=True)  # half a figure
        raise
    return True

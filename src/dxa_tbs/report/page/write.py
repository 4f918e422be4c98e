"""report.html, checklist.md and model_card.md: the whole report on one page that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from dxa_tbs.report.attempts import Attempts
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.labels import label
from dxa_tbs.report.page.checklist import OPEN, checklist_markdown, fill_checklist
from dxa_tbs.report.page.model_card import card_markdown, card_name, model_card
from dxa_tbs.report.page.run_charts import show_run
from dxa_tbs.report.page.sections import MAX_THUMBNAILS, show_sections, show_thumbnails
from dxa_tbs.report.page.verdict import choose, verdict
from dxa_tbs.report.registry import Figure, Table
from dxa_tbs.report.study import Study
from dxa_tbs.runs.files import write_text


def write_page(study: Study, tables: Sequence[Table], figures: Sequence[Figure], attempts: Attempts) -> None:
    """Write report.html, checklist.md and model_card.md below the root of a study.

    Args:
        tables: those registered; their sections say where they stand.
        figures: those that were drawn.
        attempts: gets a line for each part of the page that fails.
    """
    chosen = [choose(split.experiments) for split in study.splits]
    of = label(chosen[0])
    items = attempts.make("checklist", [], fill_checklist, chosen[0], study.documents)
    cards = {card_name(one): attempts.make("model card", {}, model_card, one, study.documents) for one in chosen}
    values = {
        "verdicts": _verdicts(study, chosen, attempts),
        "banner": study.banner,
        "sections": show_sections(study, tables, figures),
        "thumbnails": attempts.make("thumbnails", [], lambda: list(show_thumbnails(study))),
        "max_thumbnails": MAX_THUMBNAILS,
        "num_errors": sum(len(document.numbers) for document in study.tables.get("errors", ())),
        "chosen": [one.folder for one in chosen],
        "runs": _runs(study, attempts),
        "items": items,
        "items_of": of,
        "open_text": OPEN,
        "cards": cards,
    }
    write_text(study.root / "report.html", _render(values | {"missing": attempts.missing}))
    write_text(study.root / "checklist.md", checklist_markdown(items, of))
    write_text(study.root / "model_card.md", "\n".join(card_markdown(name, card) for name, card in cards.items()))


def _verdicts(study: Study, chosen: Sequence[Experiment], attempts: Attempts) -> list[list[str]]:
    """Return blocks of sentences: the primary result first, or, if there is none, last."""
    of_splits = [
        attempts.make(f"verdict on {split.name}", [f"{label(one)}: no verdict."], verdict, split, study.compared)
        for split, one in zip(study.splits, chosen, strict=True)
    ]
    primary = study.primary
    return [primary.lines, *of_splits] if primary.document else [*of_splits, primary.lines]


def _runs(study: Study, attempts: Attempts) -> list[dict[str, Any]]:
    shown = [
        attempts.make(f"charts of {run.folder}", None, show_run, study.root, one, run)
        for one in study.experiments
        for run in one.runs
    ]
    return [run for run in shown if run is not None]


def _render(values: Mapping[str, Any]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(values)

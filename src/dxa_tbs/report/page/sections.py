"""Sections of the page: what the template shows of tables, figures and thumbnails."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dxa_tbs.report.documents import Document
from dxa_tbs.report.registry import SECTIONS, Figure, Table
from dxa_tbs.report.study import Study

OPEN_AT_FIRST = ("overview", "sanity", "paper", "own")
MAX_THUMBNAILS = 320  # about 10 KB each


def show_sections(study: Study, tables: Sequence[Table], figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Return what the template shows of each section.

    Args:
        tables: those registered, in their order.
        figures: those that were drawn.
    """
    folder = study.root / "figures"
    return [
        {
            "anchor": anchor,
            "heading": heading,
            "is_open": anchor in OPEN_AT_FIRST,
            "figures": [
                (one.name, one.alt, _inlined(folder / f"{one.name}.png")) for one in figures if one.section == anchor
            ],
            "tables": [
                _show_table(document, study.banner)
                for one in tables
                if one.section == anchor
                for document in study.tables.get(one.name, ())
            ],
        }
        for anchor, heading in SECTIONS.items()
    ]


def _show_table(document: Document, banner: Sequence[str]) -> dict[str, Any]:
    """Return a table for the template, without the notes that the top of the page already has."""
    return {
        "name": document.name,
        "title": document.title,
        "columns": list(document.printed.columns),
        "groups": _groups(document.printed),
        "notes": [note for note in document.notes if note not in banner],
    }


def _groups(printed: pd.DataFrame) -> list[list[list[str]]]:
    """Return the rows of a table in groups that stay together when sorted: each begins with a filled first cell."""
    groups: list[list[list[str]]] = []
    for row in printed.to_numpy().tolist():
        if row[0] or not groups:
            groups.append([])
        groups[-1].append(row)
    return groups


def show_thumbnails(study: Study) -> Iterator[dict[str, Any]]:
    """Yield each experiment's thumbnails by kind and place, up to MAX_THUMBNAILS in all."""
    if "errors" not in study.documents:
        return
    shown = study.documents["errors"].numbers.head(MAX_THUMBNAILS)
    for run, of_run in shown.groupby("run", sort=False):
        groups = []
        for (kind, place), part in of_run.groupby(["kind", "place"], sort=False):
            images = [
                {**row, "source": _inlined(study.root / str(run) / row["file"])}
                for row in part.to_dict("records")
                if (study.root / str(run) / row["file"]).is_file()
            ]
            groups.append({"kind": kind, "place": place, "images": images})
        yield {"experiment": of_run["experiment"].iloc[0], "run": run, "groups": groups}


def _inlined(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()

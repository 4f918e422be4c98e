"""report.html: the whole story on one page that needs no network, rebuilt from the run folders. Never imports torch."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from dxa_tbs.evaluation.measured import build_scored
from dxa_tbs.evaluation.roc import GRID, roc_band
from dxa_tbs.report.documents import Document, number
from dxa_tbs.report.footnotes import title
from dxa_tbs.report.history import read_history
from dxa_tbs.report.numbers.overview import TIMES
from dxa_tbs.report.page.charts import Line, line_chart
from dxa_tbs.report.page.checklist import OPEN, checklist_markdown, fill_checklist
from dxa_tbs.report.page.model_card import card_markdown, card_name, model_card
from dxa_tbs.report.runs import Experiment, Run
from dxa_tbs.runs.files import write_text

BAND_RESAMPLES = 200
MAX_THUMBNAILS = 320  # about 10 KB each
ALT_TEXTS = {
    "figure_1": "Fig. 1: a frame with the window that is cut from it, and the window",
    "figure_2": "Fig. 2: training images beside their augmented copies",
    "figure_3": "Fig. 3: the layers of the ad hoc networks",
    "figure_4": "Fig. 4: sensitivity against F1-score, diameter by the time of ten epochs, ours and the paper's; the "
    "numbers stand in the tables of results",
    "roc_curves": "Test ROC curves with 95 % bands, one panel per experiment; the areas stand in the tables of results",
    "forest_f1": "F1-score of each experiment with its 95 % interval and the paper's value; the numbers stand in "
    "the tables of results",
    "reliability": "Reliability diagrams, one panel per experiment; the numbers stand in the table of bins",
    "decision_curve": "Decision curves, one panel per approach; the numbers stand in the table of net benefit",
}


@dataclass(frozen=True)
class Section:
    """Attributes: figures and tables, by name, in their order; is_open: whether it is unfolded at first."""

    anchor: str
    heading: str
    figures: tuple[str, ...]
    tables: tuple[str, ...]
    is_open: bool = False


SECTIONS = (
    Section("overview", "All experiments", ("forest_f1",), ("primary", "overview"), True),
    Section("sanity", "Against simple baselines", (), ("sanity", "against_slope"), True),
    Section("paper", "The paper's tables", (), ("table_", "other_experiments"), True),
    Section("comparisons", "Comparisons", ("roc_curves",), ("comparison_", "stability")),
    Section("operating", "Operating points", ("decision_curve",), ("operating_points", "decision_curve")),
    Section("calibration", "Calibration", ("reliability",), ("calibration", "reliability")),
    Section("figures", "The paper's figures", ("figure_1", "figure_2", "figure_3", "figure_4"), ()),
    Section("failures", "Failure analysis", (), ("tbs_bands", "subgroups", "errors")),
    Section("data", "Data card and environment", (), ("data_card", "environment")),
)


def write_page(
    root: Path,
    documents: Mapping[str, Document],
    experiments: Sequence[Experiment],
    *,
    verdicts: Sequence[Sequence[str]],
    chosen: Sequence[Experiment],
    missing: Sequence[str],
    banner: Sequence[str],
) -> None:
    """Write report.html, checklist.md and model_card.md below `root`.

    Args:
        verdicts: blocks of sentences, the most important first.
        chosen: of each ground, the experiment that its sentences are about.
    """
    items = fill_checklist(chosen[0], documents)
    cards = {card_name(one): model_card(one, documents) for one in chosen}
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("report.html.j2")
    html = template.render(
        verdicts=verdicts,
        banner=banner,
        sections=[_content(root, section, documents, banner) for section in SECTIONS],
        thumbnails=list(_thumbnails(root, documents.get("errors"))),
        max_thumbnails=MAX_THUMBNAILS,
        num_errors=len(documents["errors"].numbers) if "errors" in documents else 0,
        chosen=[one.folder for one in chosen],
        runs=list(_runs(root, experiments, documents["runs"].numbers)),
        runs_table=_shown(documents["runs"], banner),
        items=items,
        items_of=title(chosen[0]),
        open_text=OPEN,
        cards=cards,
        missing=missing,
    )
    write_text(root / "report.html", html)
    write_text(root / "checklist.md", checklist_markdown(items, title(chosen[0])))
    write_text(root / "model_card.md", "\n".join(card_markdown(name, card) for name, card in cards.items()))


def _content(root: Path, section: Section, documents: Mapping[str, Document], banner: Sequence[str]) -> dict[str, Any]:
    """Return what the template shows of a section; a table's name that ends in _ stands for all that begin so."""
    names = [
        name
        for wanted in section.tables
        for name in documents
        if name == wanted or (name.startswith(wanted) and name[len(wanted.rstrip("_")) :].startswith("_"))
    ]
    drawn = [name for name in section.figures if (root / "figures" / f"{name}.png").is_file()]
    return {
        "anchor": section.anchor,
        "heading": section.heading,
        "is_open": section.is_open,
        "figures": [(name, ALT_TEXTS[name], _inlined(root / "figures" / f"{name}.png")) for name in drawn],
        "tables": [_shown(documents[name], banner) for name in names],
    }


def _shown(document: Document, banner: Sequence[str]) -> dict[str, Any]:
    """Return a table for the template; what stands at the top of the page is not said below each table again."""
    notes = [note for note in document.notes if note not in banner]
    return {
        "name": document.name,
        "title": document.title,
        "columns": list(document.printed.columns),
        "groups": _groups(document.printed),
        "notes": notes,
    }


def _groups(printed: pd.DataFrame) -> list[list[list[str]]]:
    """Return the rows of a table in groups that stay together when sorted: each begins with a filled first cell."""
    groups: list[list[list[str]]] = []
    for row in printed.to_numpy().tolist():
        if row[0] or not groups:
            groups.append([])
        groups[-1].append(row)
    return groups


def _inlined(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _thumbnails(root: Path, errors: Document | None) -> Iterator[dict[str, Any]]:
    """Yield each experiment's thumbnails by kind and place, up to MAX_THUMBNAILS in all."""
    if errors is None:
        return
    shown = errors.numbers.head(MAX_THUMBNAILS)
    for run, of_run in shown.groupby("run", sort=False):
        groups = []
        for (kind, place), part in of_run.groupby(["kind", "place"], sort=False):
            images = [
                {**row, "source": _inlined(root / str(run) / row["file"])}
                for row in part.to_dict("records")
                if (root / str(run) / row["file"]).is_file()
            ]
            groups.append({"kind": kind, "place": place, "images": images})
        yield {"experiment": of_run["experiment"].iloc[0], "run": run, "groups": groups}


def _runs(root: Path, experiments: Sequence[Experiment], rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield what is shown of each run: its curves, confusion matrix and times.

    Args:
        rows: the numbers of the table `runs`.
    """
    of_run = rows.set_index("run")
    for one in experiments:
        for run in one.runs:
            roc = _roc_chart(run.test) if run.test["label"].nunique() == 2 else None
            row = of_run.loc[run.folder]
            yield {
                "folder": run.folder,
                "charts": [*_history_charts(root, run), *([roc] if roc else [])],
                "threshold": f"{row['threshold']:g}",
                **{name: f"{row[name]:g}" for name in ("tp", "fp", "tn", "fn")},
                "times": {text: f"{row[name]:.1f} s" for name, text in TIMES.items() if pd.notna(row[name])},
            }


def _roc_chart(test: pd.DataFrame) -> str:
    labels = test["label"].to_numpy()
    scored = build_scored(labels, test["score"].to_numpy()[None], test["patient_id"].to_numpy(), threshold=0.5)
    curve, low, high = roc_band(scored, resamples=BAND_RESAMPLES)
    return line_chart(
        "Test ROC curve with 95 % band",
        [Line("", GRID, curve), Line("chance", np.array([0.0, 1.0]), np.array([0.0, 1.0]), is_dashed=True)],
        x_label="1 - specificity",
        y_label="sensitivity",
        band=(GRID, low, high),
    )


def _history_charts(root: Path, run: Run) -> Iterator[str]:
    if not (root / run.folder / "history.csv").is_file():  # an evaluation
        return
    history, whose = read_history(root / run.folder)
    epochs, tested = history["epoch"].to_numpy(float), run.facts.get("tested_epoch")
    lines = [
        Line("train", epochs, history["train_loss"].to_numpy(float), is_dashed=True),
        Line(whose, epochs, history["val_loss"].to_numpy(float)),
    ]
    yield line_chart(f"Loss by epoch; tested: epoch {tested}", lines, x_label="epoch", y_label="loss", mark_x=tested)
    auc = history["val_auc"].to_numpy(float)
    name = f"AUC on {whose}, by epoch; at the end {number(float(auc[-1]))}"
    yield line_chart(name, [Line("", epochs, auc)], x_label="epoch", y_label="AUC", mark_x=tested)

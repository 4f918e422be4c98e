"""A table as it is published: numbers in full, and as printed in Markdown, LaTeX and on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dxa_tbs.evaluation.intervals import Estimate
from dxa_tbs.report.footnotes import SUPERSCRIPTS

ABSENT = "-"


@dataclass(frozen=True)
class Document:
    """One table: numbers in full, as printed, and what is to be said below it, a line each."""

    name: str
    title: str
    numbers: pd.DataFrame
    printed: pd.DataFrame
    notes: Sequence[str]

    def markdown(self) -> str:
        cells = self.printed.map(lambda cell: cell.replace("|", "\\|"))
        table = "" if cells.empty else cells.to_markdown(index=False, disable_numparse=True) + "\n\n"
        return f"## {self.title}\n\n{table}" + "".join(f"- {note}\n" for note in self.notes)

    def latex(self) -> str:
        """Return a table for the packages booktabs and graphicx, as wide as the page, with its notes below."""
        body = "" if self.printed.empty else _latex_text(self.printed.to_latex(index=False, escape=True))
        notes = "".join(f"\\par\\footnotesize {_latex_text(_escape(note))}\n" for note in self.notes)
        fitted = f"\\resizebox{{\\textwidth}}{{!}}{{%\n{body}}}\n" if body else ""
        return f"\\begin{{table}}\n\\caption{{{_escape(self.title)}}}\n{fitted}{notes}\\end{{table}}\n"


def number(value: float, decimals: int = 3) -> str:
    """Return a number as tables print it; NaN is absent."""
    return ABSENT if math.isnan(value) else f"{value:.{decimals}f}"


def p_value(p: float) -> str:
    """Return `p 0.012`, `p < 0.001` or, where there was no test, `p -`."""
    return "p < 0.001" if p < 0.001 else f"p {number(p)}"


def with_interval(estimate: Estimate) -> str:
    """Return a value and, where there is one, its 95 % interval."""
    if math.isnan(estimate.low):
        return number(estimate.value)
    return f"{estimate.value:.3f} ({between(estimate.low, estimate.high)})"


def between(low: float, high: float) -> str:
    return ABSENT if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _escape(text: str) -> str:
    """Return text as LaTeX prints it."""
    text = text.replace("\\", "\\textbackslash ")
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    return text.replace("~", "\\textasciitilde ").replace("^", "\\textasciicircum ")


def _latex_text(text: str) -> str:
    """Return text with the superscript letters as LaTeX writes them."""
    for letter in "abcdefgh":
        text = text.replace(letter.translate(SUPERSCRIPTS), f"\\textsuperscript{{{letter}}}")
    return text.replace(" < ", " $<$ ")

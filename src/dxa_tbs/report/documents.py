"""A table as it is published: a frame of numbers for the CSV, and a frame of texts for Markdown, LaTeX and the page."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dxa_tbs.evaluation.intervals import Estimate

ABSENT = "-"


class NotMadeError(Exception):
    """Raised by a table or figure that these runs do not have; its text says why."""


def check_file_name(name: str) -> None:
    """Check that a name of a table or figure can be that of its files.

    Raises:
        ValueError: it holds other characters than letters, digits, _ and -.
    """
    if not re.fullmatch(r"[\w-]+", name, re.ASCII):
        raise ValueError(f"{name!r}: a table or figure is named by letters, digits, _ and - only")


@dataclass(frozen=True)
class Document:
    """One table.

    Attributes:
        name: of its files, without suffix.
        numbers: unrounded, as the CSV holds them.
        printed: texts, as all other formats hold them.
        notes: lines below the table.
    """

    name: str
    title: str
    numbers: pd.DataFrame
    printed: pd.DataFrame
    notes: Sequence[str]

    def __post_init__(self) -> None:
        check_file_name(self.name)

    @functools.cached_property
    def markdown(self) -> str:
        cells = self.printed.map(lambda cell: cell.replace("|", "\\|"))
        table = "" if cells.empty else cells.to_markdown(index=False, disable_numparse=True) + "\n\n"
        return f"## {self.title}\n\n{table}" + "".join(f"- {note}\n" for note in self.notes)

    @functools.cached_property
    def latex(self) -> str:
        """Return a table as wide as the page, with its notes below. Needs the packages booktabs and graphicx."""
        body = "" if self.printed.empty else _in_math(self.printed.to_latex(index=False, escape=True))
        notes = "".join(f"\\par\\footnotesize {_in_math(_escape(note))}\n" for note in self.notes)
        fitted = f"\\resizebox{{\\textwidth}}{{!}}{{%\n{body}}}\n" if body else ""
        return f"\\begin{{table}}\n\\caption{{{_escape(self.title)}}}\n{fitted}{notes}\\end{{table}}\n"


def number(value: float, decimals: int = 3) -> str:
    """Return a number as tables print it; ABSENT for NaN."""
    return ABSENT if math.isnan(value) else f"{value:.{decimals}f}"


def p_value(p: float) -> str:
    """Return `p 0.012`, `p < 0.001`, or `p -` if there was no test."""
    return "p < 0.001" if p < 0.001 else f"p {number(p)}"


def with_interval(estimate: Estimate) -> str:
    """Return a value with its 95 % interval, if it has one."""
    if math.isnan(estimate.low):
        return number(estimate.value)
    return f"{estimate.value:.3f} ({between(estimate.low, estimate.high)})"


def between(low: float, high: float) -> str:
    return ABSENT if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _escape(text: str) -> str:
    """Return text with the special characters of LaTeX escaped."""
    text = text.replace("\\", "\\textbackslash ")
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    return text.replace("~", "\\textasciitilde ").replace("^", "\\textasciicircum ")


def _in_math(text: str) -> str:
    return text.replace(" < ", " $<$ ")

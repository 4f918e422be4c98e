"""A CSV file as people make them, to text cells."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pandas as pd

from dxa_tbs.data.names import plain_form
from dxa_tbs.errors import Refusal


def read_cells(path: Path, *, key: str) -> pd.DataFrame:
    """Return a CSV's cells as stripped text under lower-case names; row 0 is line 2 of the file.

    Args:
        path: separated by comma, semicolon or tab; UTF-8, with or without a byte order mark.
        key: the setting that named it, for the refusal.

    Raises:
        Refusal: it is missing, empty, no CSV in UTF-8, has a column twice, or a row with more or fewer cells than the
            header.
    """
    if not path.is_file():
        raise Refusal(f"{key}: {path} does not exist: name a CSV file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal(f"{key}: {path} is not in UTF-8: save it as CSV UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise Refusal(f"{key}: {path} is no text file: line {line} holds a NUL byte: save it as CSV UTF-8")
    try:
        lines, rows = _split_rows(text)
    except csv.Error as error:
        raise Refusal(f"{key}: {path} is no CSV file: {error}") from None
    if not rows:
        raise Refusal(f"{key}: {path} is empty")
    header, rows, lines = [plain_form(name).strip() for name in rows[0]], rows[1:], lines[1:]
    if ragged := [
        f"line {line}: {len(row)} cells, the header has {len(header)}"
        for line, row in zip(lines, rows, strict=True)
        if len(row) != len(header)
    ]:
        raise Refusal(
            f"{key}: {path}: {len(ragged)} rows have more or fewer cells than the header: quote cells that hold the "
            "separator, and end no row early",
            ragged,
        )
    if not rows:
        raise Refusal(f"{key}: {path} has no rows below its header")
    cells = pd.DataFrame(rows, index=[line - 2 for line in lines], dtype=str)
    cells = cells.apply(lambda column: column.str.strip())
    nameless = [place for place, name in enumerate(header) if not name and (cells[place] == "").all()]
    cells.columns = pd.RangeIndex(len(header))
    cells = cells.drop(columns=nameless)
    cells.columns = pd.Index([name for place, name in enumerate(header) if place not in nameless])
    _check_header(list(cells.columns), path, key)
    return cells


def _split_rows(text: str) -> tuple[list[int], list[list[str]]]:
    """Return the rows that are not blank, the header first, and the line of the file that each begins on."""
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines, rows, line = [], [], 1
    for row in reader:
        if any(cell.strip() for cell in row):
            lines.append(line)
            rows.append(row)
        line = reader.line_num + 1
    return lines, rows


def _check_header(names: list[str], path: Path, key: str) -> None:
    if twice := sorted(name for name, count in Counter(names).items() if count > 1 and name):
        raise Refusal(
            f"{key}: {path} has the column {', '.join(twice)} twice (letter case and spaces do not count): drop one"
        )
    if "" in names:
        raise Refusal(f"{key}: {path}: column {names.index('') + 1} holds cells but has no name: name or drop it")

"""Reads the CSV files that people and spreadsheets write into text cells."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pandas as pd

from dxa_tbs.data.names import plain_form
from dxa_tbs.errors import Refusal


def read_cells(path: Path, *, key: str) -> pd.DataFrame:
    """Return the cells of a CSV as stripped text, with lower-case column names; index 0 is line 2 of the file.

    Args:
        path: separated by comma, semicolon or tab; UTF-8, with or without a byte order mark.
        key: the setting that named the file, for the message.

    Raises:
        Refusal: the file is missing, empty, or not a CSV in UTF-8; a column occurs twice; or a row has more or fewer
            cells than the header.
    """
    if not path.is_file():
        raise Refusal(f"{key}: {path} does not exist: name a CSV file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal(f"{key}: {path} is not in UTF-8: save it as CSV UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise Refusal(f"{key}: {path} is not a text file: line {line} contains a NUL byte: save it as CSV UTF-8")
    try:
        lines, rows = _split_rows(text)
    except csv.Error as error:
        raise Refusal(f"{key}: {path} is not a CSV file ({error}): save it as CSV UTF-8") from None
    if not rows:
        raise Refusal(f"{key}: {path} is empty: name a CSV file with a header and rows")
    header, rows, lines = [plain_form(name).strip() for name in rows[0]], rows[1:], lines[1:]
    if ragged := [
        f"line {line}: {len(row)} cells, the header has {len(header)}"
        for line, row in zip(lines, rows, strict=True)
        if len(row) != len(header)
    ]:
        raise Refusal(
            f"{key}: {path}: {len(ragged)} rows have more or fewer cells than the header: quote cells that contain the "
            "separator, and fill up short rows",
            ragged,
        )
    if not rows:
        raise Refusal(f"{key}: {path} has no rows below its header: name a CSV file with rows")
    cells = pd.DataFrame(rows, index=[line - 2 for line in lines], dtype=str)
    cells = cells.apply(lambda column: column.str.strip())
    unnamed = [place for place, name in enumerate(header) if not name and (cells[place] == "").all()]
    cells.columns = pd.RangeIndex(len(header))
    cells = cells.drop(columns=unnamed)
    cells.columns = pd.Index([name for place, name in enumerate(header) if place not in unnamed])
    _check_header(list(cells.columns), path, key)
    return cells


def _split_rows(text: str) -> tuple[list[int], list[list[str]]]:
    """Return the line on which each non-blank row begins, and these rows; the header comes first."""
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
            f"{key}: {path} has the column {', '.join(twice)} twice (letter case and spaces are ignored): drop one"
        )
    if "" in names:
        raise Refusal(f"{key}: {path}: column {names.index('') + 1} has values but no name: name it or drop it")

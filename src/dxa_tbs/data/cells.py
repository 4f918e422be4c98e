"""A CSV file as people make them, to text cells."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from dxa_tbs.errors import Refusal


def read_cells(csv: Path, *, key: str) -> pd.DataFrame:
    """Return a CSV's cells as stripped text, empty where missing, under lower-case names; row 0 is line 2 of the file.

    Args:
        csv: separated by comma, semicolon or tab; UTF-8, with or without a byte order mark.
        key: the setting that named it, for the refusal.

    Raises:
        Refusal: it is missing, empty, no CSV in UTF-8, or has a column twice.
    """
    if not csv.is_file():
        raise Refusal(f"{key}: {csv} does not exist: name a CSV file")
    try:
        with csv.open(encoding="utf-8-sig") as file:
            separator = max(",;\t", key=file.readline().count)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header
            cells = pd.read_csv(
                csv,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
                skip_blank_lines=False,
            ).fillna("")
    except UnicodeDecodeError:
        raise Refusal(f"{key}: {csv} is not in UTF-8: save it as CSV UTF-8") from None
    except pd.errors.EmptyDataError:
        raise Refusal(f"{key}: {csv} is empty") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise Refusal(f"{key}: {csv} is no CSV file: {str(error).strip()}") from None
    cells.columns = cells.columns.str.strip().str.lower()
    if twice := sorted(set(cells.columns[cells.columns.duplicated()])):
        raise Refusal(f"{key}: {csv} has the column {', '.join(twice)} twice: drop one")
    cells = cells.apply(lambda column: column.str.strip())
    cells = cells[(cells != "").any(axis=1)]
    if cells.empty:
        raise Refusal(f"{key}: {csv} has no rows below its header")
    return cells

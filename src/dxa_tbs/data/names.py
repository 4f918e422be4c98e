"""Checks identifiers as people type them: damaged ones, and those that differ only in form."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

HIDDEN = {"Cc", "Cf", "Zl", "Zp"}  # Unicode categories: control, format, line separator, paragraph separator
NOBODY = {"nan", "null", "none", "n/a", "unknown", "?", "-"}  # ways in which programs and people write "missing"
SPREADSHEET_ERROR = re.compile(r"#(n/a|ref!|name\?|value!|null!|num!|div/0!|#+)", re.IGNORECASE)
ROUNDED = re.compile(r"[+-]?\d+([.,]\d+)?e\+?\d+", re.IGNORECASE)  # 1E+05


def plain_form(text: str) -> str:
    """Return a text in lower case and a single Unicode form, without invisible characters."""
    seen = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) not in HIDDEN)
    return unicodedata.normalize("NFC", seen.casefold())


def loose_form(identifier: str) -> str:
    """Return a form shared by identifiers that probably mean the same: 007, 7 and 7.0; Ab, AB and ab; P 1 and P_1."""
    text = re.sub(r"[\s_-]+", "-", plain_form(identifier).strip())
    text = re.sub(r"^([+-]?\d+)[.,]0+$", r"\1", text)
    return re.sub(r"(?<![\d.,])0+(?=\d)", "", text)


def damage(identifier: str) -> str | None:
    """Return the reason why an identifier is unusable, or None. Empty identifiers are not checked here."""
    for char in identifier:
        if unicodedata.category(char) in HIDDEN:
            return f"contains the invisible character U+{ord(char):04X}"
    if "\ufffd" in identifier:
        return "contains a character that another program could not read (U+FFFD)"
    if SPREADSHEET_ERROR.fullmatch(identifier):
        return f"is {identifier}, a spreadsheet error"
    if ROUNDED.fullmatch(identifier):
        return f"is {identifier}, a number rounded by a spreadsheet: format the column as text"
    return f"is {identifier}, which identifies nobody" if identifier.casefold() in NOBODY else None


def alike_in_form(identifiers: Sequence[str]) -> list[list[str]]:
    """Return groups of identifiers that differ only in leading zeros, letter case or Unicode form."""
    groups = defaultdict(set)
    for identifier in set(identifiers) - {""}:
        groups[loose_form(identifier)].add(identifier)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)

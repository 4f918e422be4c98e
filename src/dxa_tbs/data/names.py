"""Identifiers as people type them: which are damaged, and which differ in form alone."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

HIDDEN = {"Cc", "Cf", "Zl", "Zp"}  # Unicode categories: control and format characters, separators of lines
NOBODY = {"nan", "null", "none", "n/a", "unknown", "?", "-"}  # what programs and people write for "missing"
SPREADSHEET_ERROR = re.compile(r"#(n/a|ref!|name\?|value!|null!|num!|div/0!|#+)", re.IGNORECASE)
ROUNDED = re.compile(r"[+-]?\d+([.,]\d+)?e\+?\d+", re.IGNORECASE)  # 1E+05


def plain_form(text: str) -> str:
    """Return a text in lower case and one Unicode form, without characters that cannot be seen."""
    seen = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) not in HIDDEN)
    return unicodedata.normalize("NFC", seen.casefold())


def loose_form(identifier: str) -> str:
    """Return what identifiers share that are probably meant to be one: 007, 7 and 7.0; Ab, AB and ab; P 1 and P_1."""
    text = re.sub(r"[\s_-]+", "-", plain_form(identifier).strip())
    text = re.sub(r"^([+-]?\d+)[.,]0+$", r"\1", text)
    return re.sub(r"(?<![\d.,])0+(?=\d)", "", text)


def damage(identifier: str) -> str | None:
    """Return what is wrong with an identifier, or None. An empty one is not judged here."""
    for char in identifier:
        if unicodedata.category(char) in HIDDEN:
            return f"holds the invisible character U+{ord(char):04X}"
    if "\ufffd" in identifier:
        return "holds a character that another program could not read (U+FFFD)"
    if SPREADSHEET_ERROR.fullmatch(identifier):
        return f"is {identifier}, an error of a spreadsheet"
    if ROUNDED.fullmatch(identifier):
        return f"is {identifier}, as a spreadsheet writes a number it has rounded: format the column as text"
    return f"is {identifier}, which names nobody" if identifier.casefold() in NOBODY else None


def alike_in_form(identifiers: Sequence[str]) -> list[list[str]]:
    """Return the groups of different identifiers that differ in leading zeros, letter case or Unicode form alone."""
    groups = defaultdict(set)
    for identifier in set(identifiers) - {""}:
        groups[loose_form(identifier)].add(identifier)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)

"""Names of networks in libraries."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MOST_NAMED = 8


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the known names that contain a name or are spelled alike; if there are none, the first of all."""
    near = [other for other in known if name in other] or difflib.get_close_matches(name, known, n=3)
    text = ", ".join((near or known)[:MOST_NAMED]) + (", ..." if len(near or known) > MOST_NAMED else "")
    return f"did you mean {text}?" if near else f"there are {text}"

"""The operations of an augmentation in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def describe_operation(operation: Mapping[str, Any]) -> str:
    """Return the name of an operation and its settings: rotate (max_deg 10, interpolation bilinear)."""
    settings = ", ".join(f"{key} {_shown(value)}" for key, value in operation.items() if key != "name")
    return f"{operation['name']} ({settings})" if settings else str(operation["name"])


def other_operations(ours: Sequence[Mapping[str, Any]], papers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how operations differ from the paper's: each other setting or, with others or in another order, all."""
    if [one["name"] for one in ours] != [one["name"] for one in papers]:
        return [f"operations {' then '.join(map(describe_operation, ours)) or 'none'}"]
    return [
        f"{one['name']} {key} {_shown(value)}"
        for one, theirs in zip(ours, papers, strict=True)
        for key, value in one.items()
        if value != theirs.get(key)
    ]


def _shown(value: object) -> str:
    """Return a value as text; of a path only the last part, because folders tell whose machine it was."""
    return f"{value:g}" if isinstance(value, float) else re.split(r"[\\/]", str(value))[-1]

"""Checks of single numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

MAX_SEED = 2**32 - 1


def not_finite(value: Any, key: str = "") -> Iterator[str]:
    """Yield a line for each value that is or contains an infinite number or NaN."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from not_finite(part, f"{key}.{name}" if key else str(name))
        return
    numbers = value if isinstance(value, list) else [value]
    for place, part in enumerate(numbers):
        if isinstance(part, Mapping | list):
            yield from not_finite(part, f"{key}.{place}")
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        yield f"{key}={value}: must be finite: give a number"


def outside(key: str, value: float, least: float, greatest: float | None = None) -> Iterator[str]:
    """Yield a line if a value is below `least` or above `greatest`."""
    if not value >= least or (greatest is not None and value > greatest):
        limit = f"at least {least}" if greatest is None else f"between {least} and {greatest}"
        yield f"{key}={value}: must be {limit}"

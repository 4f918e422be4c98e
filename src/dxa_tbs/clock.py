"""How long a run has taken, and what for."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator


class Clock:
    """The time since a run began, and what of it went into the parts that are named."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.parts_s: dict[str, float] = defaultdict(float)

    def since_start_s(self) -> float:
        return time.perf_counter() - self._start

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.parts_s[name] += time.perf_counter() - start

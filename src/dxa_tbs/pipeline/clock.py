"""How long a run has taken, what for, and what else the machine was doing."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import psutil


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


def watch_other_load() -> Callable[[], float]:
    """Return what tells how many cores other processes have kept busy since, on average: times are theirs, too."""
    start_s, busy_s = time.perf_counter(), _busy_elsewhere_s()
    return lambda: max(0.0, _busy_elsewhere_s() - busy_s) / (time.perf_counter() - start_s)


def _busy_elsewhere_s() -> float:
    machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
    unused = ("idle", "iowait", "guest", "guest_nice")  # Linux counts guests as user, too
    busy_s = sum(machine) - sum(getattr(machine, name, 0.0) for name in unused)
    return float(busy_s - sum(own[:4]))  # user and system, of this process and of those it started

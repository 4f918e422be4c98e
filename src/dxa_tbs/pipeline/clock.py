"""The time a run and its parts take, and how busy other processes keep the machine."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import psutil


class Clock:
    """Measures the time since a run began, and the time spent in its named parts.

    Attributes:
        parts_s: seconds spent in each part.
    """

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

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block out of the time since the run began."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._start += time.perf_counter() - start


def watch_other_load() -> Callable[[], float]:
    """Return a function that gives the mean number of cores kept busy by other processes, which slow a run down."""
    start_s, busy_s = time.perf_counter(), _busy_elsewhere_s()
    return lambda: max(0.0, _busy_elsewhere_s() - busy_s) / (time.perf_counter() - start_s)


def _busy_elsewhere_s() -> float:
    machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
    unused = ("idle", "iowait", "guest", "guest_nice")  # Linux also counts guest time as user time
    busy_s = sum(machine) - sum(getattr(machine, name, 0.0) for name in unused)
    return float(busy_s - sum(own[:4]))  # user and system time of this process and its children

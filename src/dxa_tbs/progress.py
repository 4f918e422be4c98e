"""How far a verb has come: passed to one callback, which a terminal, a notebook or a test may show as it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """Attributes: stage: what is being done (rendering, features, training); done and total: of its units; epoch: a
    line of the history, when an epoch has ended."""

    stage: str
    done: int
    total: int | None
    unit: str = "image"
    epoch: Mapping[str, float] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Show nothing."""


def reported(items: Iterable[T], stage: str, total: int, on_progress: OnProgress) -> Iterator[T]:
    """Yield the items, reporting each once it has been dealt with."""
    for done, item in enumerate(items, start=1):
        yield item
        on_progress(Progress(stage, done, total))

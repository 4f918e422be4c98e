"""Progress reports: a verb passes them to a callback, which a terminal, a notebook or a test can supply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """The progress of one stage.

    Attributes:
        stage: the name of the stage, such as rendering, features or training.
        done: number of units done.
        total: number of units in the stage; None: unknown.
        unit: image, or B for bytes.
        epoch: the line of the history at the end of an epoch, else empty.
    """

    stage: str
    done: int
    total: int | None
    unit: str = "image"
    epoch: Mapping[str, float] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Ignore the report."""


def reported(items: Iterable[T], stage: str, total: int, on_progress: OnProgress) -> Iterator[T]:
    """Yield the items, and report progress after each."""
    for done, item in enumerate(items, start=1):
        yield item
        on_progress(Progress(stage, done, total))

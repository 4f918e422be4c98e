"""The interface of a tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

Value = str | int | float | bool | None


@dataclass(frozen=True)
class RunStart:
    """What a tracker is told when a run starts.

    Attributes:
        study: the name of the study.
        run: the run folder, relative to output_root: runs/phantom/adhoc/model4/seed0.
        identity: dataset, approach, model and seed, and whether the run is an evaluation.
        settings: under dotted keys, such as trainer.epochs; without paths.
    """

    study: str
    run: str
    identity: Mapping[str, Value]
    settings: Mapping[str, Value]


class Tracker(Protocol):
    """Records one run. A function that takes a RunStart, and the settings of its kind, returns it.

    A method returns when the library has stored what it was told. The last call is either `finish` or `fail`.
    """

    def log_epoch(self, epoch: Mapping[str, float]) -> None:
        """Record a line of history.csv."""

    def finish(self, figures: Mapping[str, float]) -> None:
        """Record the final figures, such as test/auc, and that the run is finished."""

    def fail(self) -> None:
        """Record that the run failed or was stopped."""


class NoTracker:
    """Records nothing."""

    def log_epoch(self, epoch: Mapping[str, float]) -> None:
        pass

    def finish(self, figures: Mapping[str, float]) -> None:
        pass

    def fail(self) -> None:
        pass

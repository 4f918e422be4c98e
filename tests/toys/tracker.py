"""A tracker that writes what it is told to a file, and misbehaves on demand."""

from __future__ import annotations

import json
import os
import random
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from dxa_tbs.config.kinds import Kind, register_kind
from dxa_tbs.config.schema import TrackerConfig
from dxa_tbs.tracking.tracker import RunStart


@dataclass
class ToyConfig(TrackerConfig):
    file: str = MISSING
    does: dict[str, str] = MISSING  # call: raise, hang, end or shout


def open_toy(start: RunStart, *, file: str, does: Mapping[str, str]) -> Toy:
    toy = Toy(Path(file), does)
    toy.record("start", asdict(start))
    return toy


class Toy:
    def __init__(self, file: Path, does: Mapping[str, str]) -> None:
        self._file, self._does = file, does

    def log_epoch(self, epoch: Mapping[str, float]) -> None:
        self.record("log_epoch", dict(epoch))

    def finish(self, figures: Mapping[str, float]) -> None:
        self.record("finish", dict(figures))

    def fail(self) -> None:
        self.record("fail", {})

    def record(self, call: str, values: Any) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps([call, values]) + "\n")
        match self._does.get(call):
            case "raise":
                raise RuntimeError("the disk\nis full")
            case "hang":
                time.sleep(600)
            case "end":
                os._exit(3)
            case "shout":
                print("a long banner " * 10_000)
                warnings.warn("old", DeprecationWarning, stacklevel=1)
                random.seed(7)
                np.random.seed(7)


register_kind("tracker", "toy", Kind(ToyConfig, "toys.tracker:open_toy"))

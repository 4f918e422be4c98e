"""What a tracker is told about a run: numbers, settings, and where the run is; no path, patient, image or file."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.kinds import kind_of, own_settings, weights_file
from dxa_tbs.config.schema import Config, NoTrackerConfig
from dxa_tbs.runs.identity import flatten_without
from dxa_tbs.tracking.remote import tracked
from dxa_tbs.tracking.tracker import NoTracker, RunStart, Tracker, Value

PLACES = (  # settings that are names of files and folders, or may hold them
    *("output_root", "cache_dir", "evaluate", "split.path", "tracker"),
    *("dataset.root", "dataset.table", "dataset.normal_folder", "dataset.degraded_folder", "dataset.patient_from"),
)
PATH = re.compile(r"[\\/]")


@contextlib.contextmanager
def tracker_of(config: Config, run_dir: Path) -> Iterator[Tracker]:
    """Yield the configured tracker; it is told if the block raises."""
    if isinstance(config.tracker, NoTrackerConfig):
        yield NoTracker()
        return
    function, settings = kind_of("tracker", config.tracker).function, own_settings(config.tracker)
    plain = {key: getattr(value, "value", value) for key, value in settings.items()}  # of an enum
    with tracked(config.tracker.name, function, run_start(config, run_dir), plain) as tracker:
        yield tracker


def run_start(config: Config, run_dir: Path) -> RunStart:
    """Return what a tracker is told at the start of a run. Settings that are or contain a path are left out."""
    of_file = () if weights_file(config.model) is None else ("model.weights",)
    flat = flatten_without((*PLACES, *of_file), to_plain(config))
    settings = {key: _as_value(value) for key, value in flat.items()}
    return RunStart(
        study=config.name,
        run=run_dir.relative_to(config.output_root).as_posix(),
        identity={
            "dataset": config.dataset.name,
            "approach": config.approach.name,
            "model": config.model.name,
            "seed": config.seed,
            "is_evaluation": config.evaluate is not None,
        },
        settings={key: value for key, value in settings.items() if not PATH.search(str(value))},
    )


def final_figures(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of validation and test images at the fixed threshold, such as test/auc, as far as defined.

    Args:
        facts: contents of metrics.json.
    """
    figures = {}
    for split in ("val", "test"):
        metrics = facts.get(split, {})
        for name, value in metrics.get("at_fixed", metrics).items():
            if value is not None and value == value:  # not NaN
                figures[f"{split}/{name}"] = float(value)
    return figures


def _as_value(value: Any) -> Value:
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)

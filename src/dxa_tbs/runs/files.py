"""The files of a run folder: their names, how they are read and written, and the digests of what was written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dxa_tbs.disk import named_errors

if TYPE_CHECKING:  # a refusal must not wait for them
    import pandas as pd

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is installed

CONFIG_YAML = "config.yaml"
ENVIRONMENT_JSON = "environment.json"
SPLIT_CSV = "split.csv"
HISTORY_CSV = "history.csv"  # an evaluation has none
PREDICTIONS_CSV = "predictions.csv"
TIMING_JSON = "timing.json"  # an evaluation has none
MEASURES_CSV = "measures.csv"
LAYERS_CSV = "layers.csv"
ERRORS_CSV = "errors.csv"
RECORDS = (CONFIG_YAML, ENVIRONMENT_JSON, SPLIT_CSV, HISTORY_CSV, PREDICTIONS_CSV, TIMING_JSON, MEASURES_CSV,
           LAYERS_CSV, ERRORS_CSV)  # fmt: skip
MODEL_PT = "model.pt"  # an evaluation has none
SIGNATURES_NPY = "signatures.npy"  # of the train and val originals, in the order of split.csv; runs of 0.1.0 have none
METRICS_JSON = "metrics.json"  # written last: a run that has it is finished
FAILED_JSON = "failed.json"  # why a run ended without results
TRAIN_LOG = "train.log"
LOCK = ".lock"
FIGURES = "figures"  # folders
ERRORS = "errors"

_GATHERING: list[dict[Path, str]] = []  # see gathered_digests


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        ValueError: it is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no object")
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises:
        ValueError: it is damaged.
    """
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=SAFE_LOADER)
    except (yaml.YAMLError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no settings")
    return value


def read_csv(path: Path, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a CSV of a run folder, or some of its columns; identifiers stay text."""
    import pandas as pd

    exact = ("tbs", "score")  # parsed by Python: older pandas is off by an ulp, which moves a threshold
    text = dict.fromkeys(("image_id", "patient_id", "origin", *exact), str)
    table = pd.read_csv(path, dtype=text, keep_default_na=False, usecols=columns)
    return table.assign(**{name: table[name].replace("", "nan").map(float) for name in exact if name in table})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON; NaN becomes null."""
    write_text(path, json.dumps(without_nan(value), indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, yaml.safe_dump(dict(value), sort_keys=False))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV with floats in full precision, so that every number can be recomputed from it."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def write_text(path: Path, text: str) -> None:
    """Replace the file in one step: a reader, also after a power cut, finds the old file or the new one."""
    scratch = path.with_name(path.name + ".tmp")
    with named_errors(path):
        with scratch.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    for digests in _GATHERING:
        digests[path] = hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def gathered_digests() -> Iterator[dict[Path, str]]:
    """Yield a dict that collects the SHA-256 of every text file as it was written, whatever becomes of the file."""
    digests: dict[Path, str] = {}
    _GATHERING.append(digests)
    try:
        yield digests
    finally:
        _GATHERING.pop()

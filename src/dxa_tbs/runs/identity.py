"""Which run a configuration describes: what would be computed, not what was typed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dxa_tbs.runs.files import CONFIG_YAML, METRICS_JSON, read_json, read_yaml, write_yaml
from dxa_tbs.runs.versions import NewerRun, completed_settings, with_version

SHOWN_IN_PATH = ("name", "dataset.name", "approach.name", "model.name", "seed")
WITHOUT_EFFECT = (  # settings and sections: where files are written and found, how much is shown, which device computes
    "output_root",
    "cache_dir",
    "evaluate",  # the weights of that run are compared instead
    "dataset.near_duplicates",
    "evaluation.shown_errors",
    "trainer.device",
    "tracker",
)


def read_config(run_dir: Path) -> dict[str, Any]:
    """Return the settings of a run; one that did not exist yet has the value that was in force then.

    Raises:
        NewerRun: a newer version of dxa_tbs wrote the run.
        ValueError: config.yaml is damaged.
    """
    stored = read_yaml(run_dir / CONFIG_YAML)
    try:
        return completed_settings(stored)
    except NewerRun as newer:
        raise NewerRun(f"{run_dir / CONFIG_YAML}: {newer}") from None


def write_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Write config.yaml of a new run."""
    write_yaml(run_dir / CONFIG_YAML, with_version(config))


def refuse_newer(run_dir: Path) -> None:
    """Refuse a run that a newer version of dxa_tbs wrote. A config.yaml that cannot be read passes.

    Raises:
        NewerRun: names the file.
    """
    try:
        read_config(run_dir)
    except NewerRun:
        raise
    except (OSError, ValueError):
        pass


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that can change a result, under dotted keys: trainer.epochs."""
    return flatten_without(WITHOUT_EFFECT, config)


def run_folder(
    config: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None, evaluated_sha256: str | None = None
) -> Path:
    """Return the folder of the run that a configuration describes.

    If a folder holds this run already, that folder is returned, whatever it is called: other versions named folders in
    another way. Otherwise the folder is new:
    outputs/<name>/<dataset>/<approach>/<model>/seed<k>[-<digest of the settings>], without a digest for the defaults.

    Args:
        config: resolved.
        defaults: the settings of the same dataset, approach and model if nothing else is set; None: unknown.
        evaluated_sha256: of the weights, if they are evaluated rather than trained.
    """
    parts = (config["name"], config["dataset"]["name"], config["approach"]["name"], config["model"]["name"])
    parent, seed = Path(config["output_root"], *parts), f"seed{config['seed']}"
    wanted = identity(config)
    for run_dir in sorted([*parent.glob(seed), *parent.glob(f"{seed}-*")]):
        if _holds(run_dir, wanted, evaluated_sha256):
            return run_dir
    others = {key: value for key, value in wanted.items() if key not in SHOWN_IN_PATH}
    is_default = defaults is not None and others == {
        key: value for key, value in identity(defaults).items() if key not in SHOWN_IN_PATH
    }
    if is_default and evaluated_sha256 is None:
        return parent / seed
    digest = hashlib.sha256(json.dumps([others, evaluated_sha256], sort_keys=True).encode()).hexdigest()[:8]
    return parent / f"{seed}-{digest}"


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each setting that differs and can change a result."""
    there, here = identity(there), identity(here)
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            yield f"{key}: {there.get(key)} there, {here.get(key)} here"


def names_patients(dataset: Mapping[str, Any]) -> bool:
    """Return whether the patient_ids of a dataset name a patient in other datasets too; those made per image do not."""
    return "normal_folder" not in dataset or dataset["patient_from"] not in (None, "file")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted keys: trainer.epochs."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def flatten_without(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings under dotted keys, without some settings and sections.

    Args:
        names: of a setting, such as trainer.device, or of a whole section, such as tracker.
    """
    sections = tuple(f"{name}." for name in names)
    return {key: value for key, value in flatten(config).items() if not f"{key}.".startswith(sections)}


def _holds(run_dir: Path, wanted: Mapping[str, Any], evaluated_sha256: str | None) -> bool:
    """Return whether a folder holds the wanted run, finished or not."""
    try:
        config = read_config(run_dir)
        if identity(config) != wanted or (config["evaluate"] is not None) != (evaluated_sha256 is not None):
            return False
        if evaluated_sha256 is None or not (run_dir / METRICS_JSON).is_file():
            return evaluated_sha256 is None  # an unfinished evaluation states no weights: its folder is found by name
        return bool(read_json(run_dir / METRICS_JSON)["weights_sha256"] == evaluated_sha256)
    except (OSError, ValueError, KeyError, TypeError):
        return False

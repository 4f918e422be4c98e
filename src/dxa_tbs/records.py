"""The run folder: its name, its identity, who may write it, how it is written and read. Never imports torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from dxa_tbs.errors import Refusal

if TYPE_CHECKING:  # a refusal must not wait for them
    import numpy as np
    import pandas as pd

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former, where libyaml is there, ten times as fast
METRICS = "metrics.json"  # written last: its presence means "finished"
CONFIG = "config.yaml"
FAILED = "failed.json"  # why a run ended without results
SIGNATURES = "signatures.npy"  # of the train and val originals, in the order of split.csv; runs of 0.1.0 have none

_GATHERING: list[dict[Path, str]] = []  # see gathered_digests

SHOWN_IN_PATH = ("name", "dataset", "dataset.name", "approach", "model", "seed", "experiment")
WITHOUT_EFFECT = (  # on the results; what `evaluate` names counts by its weights
    "output_root",
    "cache_dir",
    "evaluate",
    "dataset.near_duplicates",
)
ADDED_SINCE = (  # settings that older runs lack: section, a setting beside it, the setting, the value in force before
    ("dataset", "normal_folder", "patient_from", None),
    ("dataset", "subgroups", "near_duplicates", "refuse"),
    ("preprocessing", "fit", "region", "whole"),
    ("labels", "rule", "permuted_seed", None),
    ("trainer", "epochs", "watched", "all"),
    ("evaluation", "threshold", "shown_errors", 4),
)


def run_folder(config: Mapping[str, Any], overrides: Sequence[str], *, evaluated_sha256: str | None = None) -> Path:
    """Return outputs/<name>/<dataset>/<approach>/<model>/seed<k>[-<digest of every other override>].

    Args:
        config: the resolved configuration.
        overrides: what the user changed, as typed (`optimizer.lr=0.01`).
        evaluated_sha256: of the weights that are evaluated instead of trained, if any.
    """
    others = sorted(text for text in overrides if text.split("=")[0] not in (*SHOWN_IN_PATH, *WITHOUT_EFFECT))
    if evaluated_sha256:
        others.append(f"evaluate={evaluated_sha256}")
    digest = "-" + hashlib.sha256("\n".join(others).encode()).hexdigest()[:8] if others else ""
    parts = (config["name"], config["dataset"]["name"], config["approach"]["name"], config["model"]["name"])
    return Path(config["output_root"], *parts, f"seed{config['seed']}{digest}")


@contextlib.contextmanager
def claim_run(run_dir: Path, config: Mapping[str, Any], made_from: Mapping[str, str | None]) -> Iterator[bool]:
    """Hold the run folder for this process; yield whether it is to be filled (False: already finished, the same run).

    What an interrupted run left is removed, a finished run never.

    Args:
        config: resolved; compared with the finished run's but for what has no effect on results.
        made_from: data_sha256 (of all that images and labels come from), weights_sha256 (of a file the user named).

    Raises:
        Refusal: another process holds it, or it holds a finished run of another configuration or other data.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Refusal(f"{run_dir} is being written by another process: wait for it, or give name=<other>") from None
    try:
        if is_finished(run_dir, config, made_from):
            yield False
        else:
            _clear(run_dir)
            write_yaml(run_dir / CONFIG, config)
            try:
                yield True
            except Exception as error:
                mark_failed(run_dir, config, error)
                raise
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            (run_dir / ".lock").unlink(missing_ok=True)


def mark_failed(run_dir: Path, config: Mapping[str, Any], error: Exception) -> None:
    """Write why a run ended without results: what a user gave wrong, or the kind of another error.

    The text of other errors stays out: it can hold the name of a file, and that the name of a patient.
    A folder with files that are no run is left alone: it must not become one that the next try may clear.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / CONFIG).is_file():
        if any(run_dir.iterdir()):
            return
        write_yaml(run_dir / CONFIG, config)
    reason = getattr(error, "strerror", None)
    text = str(error) if isinstance(error, Refusal) else type(error).__name__ + (f": {reason}" if reason else "")
    write_json(run_dir / FAILED, {"error": text.splitlines()[0]})


def state(run_dir: Path) -> str:
    """Return finished, running (a process holds it), failed, unfinished (interrupted) or to do (nothing there)."""
    if (run_dir / METRICS).is_file():
        return "finished"
    lock = run_dir / ".lock"
    if lock.is_file():
        try:
            FileLock(lock).acquire(timeout=0).lock.release()
        except Timeout:
            return "running"
    if (run_dir / FAILED).is_file():
        return "failed"
    return "unfinished" if (run_dir / CONFIG).is_file() else "to do"


def is_finished(run_dir: Path, config: Mapping[str, Any], made_from: Mapping[str, str | None]) -> bool:
    """Return whether the folder holds this very run, finished.

    Raises:
        Refusal: it holds a finished run of another configuration, other data or other weights.
    """
    if not (run_dir / METRICS).is_file():
        return False
    _check_same_run(run_dir, config, made_from)
    return True


def find_runs(root: Path) -> dict[Path, str]:
    """Return the state of every run folder below `root`, sorted by folder; also of those that have lost a file."""
    of_a_run = {CONFIG, METRICS, FAILED}
    folders = sorted(Path(folder) for folder, _, files in os.walk(root) if of_a_run & set(files))
    return {folder: state(folder) for folder in folders}


def require_finished(run_dir: Path) -> Path:
    """Return `run_dir` if it holds a finished run with its weights.

    Raises:
        Refusal: it does not.
    """
    if not (run_dir / METRICS).is_file() or not (run_dir / "model.pt").is_file():
        raise Refusal(f"evaluate={run_dir} is not the folder of a finished, trained run (metrics.json and model.pt)")
    return run_dir


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds.

    Raises:
        ValueError: it is damaged.
    """
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no object")
    return value


def read_config(run_dir: Path) -> dict[str, Any]:
    """Return the settings of a run.

    Raises:
        ValueError: config.yaml is damaged.
    """
    try:
        config = yaml.load((run_dir / CONFIG).read_text(encoding="utf-8"), Loader=SAFE_LOADER)
    except yaml.YAMLError:
        config = None
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG} holds no settings")
    for section, sibling, key, value in ADDED_SINCE:
        if sibling in config.get(section, {}):
            config[section].setdefault(key, value)
    return config


def names_patients(dataset: Mapping[str, Any]) -> bool:
    """Return whether the patient_ids of a dataset say who somebody is, elsewhere too; those made of images do not."""
    return "normal_folder" not in dataset or dataset["patient_from"] not in (None, "file")


def read_table(path: Path, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a CSV of the run folder, or some of its columns; identifiers stay text."""
    import pandas as pd

    exact = ("tbs", "score")  # Python's own parser: that of older pandas is off by an ulp, which moves a threshold
    text = dict.fromkeys(("image_id", "patient_id", "origin", *exact), str)
    table = pd.read_csv(path, dtype=text, keep_default_na=False, usecols=columns)
    return table.assign(**{name: table[name].replace("", "nan").map(float) for name in exact if name in table})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON; what is not a number (NaN) becomes null."""
    write_text(path, json.dumps(without_nan(value), indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, yaml.safe_dump(dict(value), sort_keys=False))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV; floats in full, so that every number can be recomputed from it."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def sha256_of_array(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_table(table: pd.DataFrame) -> str:
    return hashlib.sha256(table.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def write_text(path: Path, text: str) -> None:
    """Replace the file in one step: a reader or a power cut sees the old one or the new one."""
    scratch = path.with_name(path.name + ".tmp")
    with scratch.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    for digests in _GATHERING:
        digests[path] = hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def gathered_digests() -> Iterator[dict[Path, str]]:
    """Yield a dict that fills with the SHA-256 of every text file written meanwhile: of what was meant to be there."""
    digests: dict[Path, str] = {}
    _GATHERING.append(digests)
    try:
        yield digests
    finally:
        _GATHERING.pop()


def _clear(run_dir: Path) -> None:
    left = [path for path in run_dir.iterdir() if path.name not in (".lock", f"{CONFIG}.tmp")]
    if left and not (run_dir / CONFIG).is_file():
        raise Refusal(f"{run_dir} holds files that are no run: give name=<other>, or move them away")
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check_same_run(run_dir: Path, config: Mapping[str, Any], made_from: Mapping[str, str | None]) -> None:
    there, here = (
        {key: value for key, value in flatten(settings).items() if key not in WITHOUT_EFFECT}
        for settings in (read_config(run_dir), config)
    )
    differences = [
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    facts = read_json(run_dir / METRICS)
    for key, what in (("data_sha256", "the images or their labels"), ("weights_sha256", "the weights it starts from")):
        if facts[key] != made_from[key]:
            differences.append(f"{what} have changed since")
    if differences:
        raise Refusal(
            f"{run_dir} holds a finished run of another configuration: give name=<other>, or move it away", differences
        )


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted keys: trainer.epochs."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

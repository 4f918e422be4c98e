"""A run folder: its state, and who may write it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dxa_tbs.errors import Refusal
from dxa_tbs.runs.files import CONFIG_YAML, FAILED_JSON, METRICS_JSON, read_json, write_json, write_yaml
from dxa_tbs.runs.identity import differences, read_config


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
            write_yaml(run_dir / CONFIG_YAML, config)
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
    if not (run_dir / CONFIG_YAML).is_file():
        if any(run_dir.iterdir()):
            return
        write_yaml(run_dir / CONFIG_YAML, config)
    reason = getattr(error, "strerror", None)
    text = str(error) if isinstance(error, Refusal) else type(error).__name__ + (f": {reason}" if reason else "")
    write_json(run_dir / FAILED_JSON, {"error": text.splitlines()[0]})


def state_of(run_dir: Path) -> str:
    """Return finished, running (a process holds it), failed, unfinished (interrupted) or to do (nothing there)."""
    if (run_dir / METRICS_JSON).is_file():
        return "finished"
    lock = run_dir / ".lock"
    if lock.is_file():
        try:
            FileLock(lock).acquire(timeout=0).lock.release()
        except Timeout:
            return "running"
    if (run_dir / FAILED_JSON).is_file():
        return "failed"
    return "unfinished" if (run_dir / CONFIG_YAML).is_file() else "to do"


def is_finished(run_dir: Path, config: Mapping[str, Any], made_from: Mapping[str, str | None]) -> bool:
    """Return whether the folder holds this very run, finished.

    Raises:
        Refusal: it holds a finished run of another configuration, other data or other weights.
    """
    if not (run_dir / METRICS_JSON).is_file():
        return False
    _check_same_run(run_dir, config, made_from)
    return True


def find_runs(root: Path) -> dict[Path, str]:
    """Return the state of every run folder below `root`, sorted by folder; also of those that have lost a file."""
    of_a_run = {CONFIG_YAML, METRICS_JSON, FAILED_JSON}
    folders = sorted(Path(folder) for folder, _, files in os.walk(root) if of_a_run & set(files))
    return {folder: state_of(folder) for folder in folders}


def require_finished(run_dir: Path) -> Path:
    """Return `run_dir` if it holds a finished run with its weights.

    Raises:
        Refusal: it does not.
    """
    if not (run_dir / METRICS_JSON).is_file() or not (run_dir / "model.pt").is_file():
        raise Refusal(f"evaluate={run_dir} is not the folder of a finished, trained run (metrics.json and model.pt)")
    return run_dir


def _clear(run_dir: Path) -> None:
    left = [path for path in run_dir.iterdir() if path.name not in (".lock", f"{CONFIG_YAML}.tmp")]
    if left and not (run_dir / CONFIG_YAML).is_file():
        raise Refusal(f"{run_dir} holds files that are no run: give name=<other>, or move them away")
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check_same_run(run_dir: Path, config: Mapping[str, Any], made_from: Mapping[str, str | None]) -> None:
    found = list(differences(read_config(run_dir), config))
    facts = read_json(run_dir / METRICS_JSON)
    for key, what in (("data_sha256", "the images or their labels"), ("weights_sha256", "the weights it starts from")):
        if facts[key] != made_from[key]:
            found.append(f"{what} have changed since")
    if found:
        raise Refusal(
            f"{run_dir} holds a finished run of another configuration: give name=<other>, or move it away", found
        )

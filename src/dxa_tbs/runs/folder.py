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
from dxa_tbs.runs.files import CONFIG_YAML, FAILED_JSON, LOCK, METRICS_JSON, MODEL_PT, read_json, write_json
from dxa_tbs.runs.identity import differences, read_config, refuse_newer, write_config
from dxa_tbs.runs.versions import NewerRun

OF_WANDB = ".wandb"  # suffix of the file in each of its folders


@contextlib.contextmanager
def claim_run(run_dir: Path, config: Mapping[str, Any], made_from: Mapping[str, Any]) -> Iterator[bool]:
    """Hold the run folder for this process; yield whether it is to be filled (False: already finished, the same run).

    What an interrupted or failed run left is removed. A finished run is never removed.

    Args:
        config: resolved; compared with that of a finished run, except for settings without effect on results.
        made_from: data_sha256 (of all that images and labels come from), weights_sha256 (of a file the user named),
            code_sha256 (of the user's own code, see `own_code.code_sha256`; may be missing).

    Raises:
        Refusal: another process holds the folder, a newer version of dxa_tbs wrote it, or it holds a finished run of
            another configuration or other data.
    """
    refuse_newer(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run_dir / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Refusal(f"{run_dir} is being written by another process: wait for it, or give name=<other>") from None
    try:
        if is_finished(run_dir, config, made_from):
            yield False
        else:
            _clear(run_dir)
            write_config(run_dir, config)
            try:
                yield True
            except Exception as error:
                with contextlib.suppress(OSError):  # the disk may be full
                    mark_failed(run_dir, config, error)
                raise
    finally:
        lock.release()  # its file stays: if it were deleted, a process that waits and a later one would both get a lock


def mark_failed(run_dir: Path, config: Mapping[str, Any], error: Exception) -> None:
    """Write failed.json: the text of a refusal, or the type of any other error.

    The text of other errors is left out, since it can hold a file name, and a file name can hold a patient's name.
    A folder whose files are not those of a run is left alone, because the next attempt clears a failed run. So is the
    run of a newer version of dxa_tbs.
    """
    if isinstance(error, NewerRun):
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / CONFIG_YAML).is_file():
        if any(run_dir.iterdir()):
            return
        write_config(run_dir, config)
    reason = getattr(error, "strerror", None)
    text = str(error) if isinstance(error, Refusal) else type(error).__name__ + (f": {reason}" if reason else "")
    write_json(run_dir / FAILED_JSON, {"error": text.splitlines()[0]})


def state_of(run_dir: Path) -> str:
    """Return finished, running (a process holds it), failed, unfinished (interrupted) or to do (no run there)."""
    if (run_dir / METRICS_JSON).is_file():
        return "finished"
    lock = run_dir / LOCK
    if lock.is_file():
        try:
            FileLock(lock).acquire(timeout=0).lock.release()
        except Timeout:
            return "running"
    if (run_dir / FAILED_JSON).is_file():
        return "failed"
    return "unfinished" if (run_dir / CONFIG_YAML).is_file() else "to do"


def is_finished(run_dir: Path, config: Mapping[str, Any], made_from: Mapping[str, Any]) -> bool:
    """Return whether the folder holds this run, finished.

    Raises:
        Refusal: it holds a finished run of another configuration, other data or other weights.
    """
    if not (run_dir / METRICS_JSON).is_file():
        return False
    _check_same_run(run_dir, config, made_from)
    return True


def find_runs(root: Path) -> dict[Path, str]:
    """Return the state of every run folder below `root`, sorted by folder, including those that have lost a file.

    What Weights & Biases keeps of a run is left out: it has a config.yaml of its own.
    """
    marks = {CONFIG_YAML, METRICS_JSON, FAILED_JSON}
    found = []
    for folder, folders, files in os.walk(root):
        if any(name.endswith(OF_WANDB) for name in files):
            folders.clear()  # are not searched
        elif marks & set(files):
            found.append(Path(folder))
    return {folder: state_of(folder) for folder in sorted(found)}


def require_finished(run_dir: Path, *, key: str = "evaluate") -> Path:
    """Return `run_dir` if it holds a finished run with its weights.

    Raises:
        Refusal: it does not.
    """
    if not (run_dir / METRICS_JSON).is_file() or not (run_dir / MODEL_PT).is_file():
        raise Refusal(f"{key}={run_dir} is not the folder of a finished, trained run (metrics.json and model.pt)")
    return run_dir


def _clear(run_dir: Path) -> None:
    """Remove what an earlier attempt left.

    Raises:
        Refusal: the files are not those of a run, or a newer version of dxa_tbs wrote them.
    """
    refuse_newer(run_dir)
    left = [path for path in run_dir.iterdir() if path.name not in (LOCK, f"{CONFIG_YAML}.tmp")]
    if left and not (run_dir / CONFIG_YAML).is_file():
        raise Refusal(f"{run_dir} holds files that are no run: give name=<other>, or move them away")
    for path in sorted(left, key=lambda path: path.name == CONFIG_YAML):  # last: it marks the folder as a run's
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check_same_run(run_dir: Path, config: Mapping[str, Any], made_from: Mapping[str, Any]) -> None:
    found = list(differences(read_config(run_dir), config))
    facts = read_json(run_dir / METRICS_JSON)
    for key, what in (("data_sha256", "the images or their labels"), ("weights_sha256", "the weights it starts from")):
        if facts[key] != made_from[key]:
            found.append(f"{what} have changed since")
    there, here = facts.get("code_sha256", {}), made_from.get("code_sha256", {})
    found += [f"the code of {key} has changed since" for key in sorted(there | here) if there.get(key) != here.get(key)]
    if found:
        raise Refusal(
            f"{run_dir} holds a finished run of another configuration: give name=<other>, or move it away", found
        )

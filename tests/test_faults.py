"""Killed processes, signals, and disks that are full, read-only or gone: real processes and real file systems."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from filelock import FileLock
from torch import nn

from dxa_tbs.cache import cached_folder
from dxa_tbs.config.choices import Precision
from dxa_tbs.disk import create_array, explain, named_errors, one_line_errors
from dxa_tbs.errors import Refusal
from dxa_tbs.runs.files import write_text
from dxa_tbs.training.batches import build_normalisation
from dxa_tbs.training.features import frozen_features

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
SLEEPERS = """
import os, sys, time, joblib
from dxa_tbs.workers import worker_processes
def work(path):
    open(path + str(os.getpid()), "w").close()
    time.sleep(60)
if __name__ == "__main__":
    worker_processes(n_jobs=2)(joblib.delayed(work)(sys.argv[1]) for _ in range(2))
"""


def wait_for(is_true: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_true():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@POSIX
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "sleepers.py").write_text(SLEEPERS)
    parent = subprocess.Popen([sys.executable, tmp_path / "sleepers.py", f"{tmp_path}/pid"], stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(tmp_path.glob("pid*"))) == 2)
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 2
    parent.send_signal(number)
    parent.wait()
    wait_for(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family), 5)


STOPPABLE = """
import signal, sys, time
from dxa_tbs.config.answers import one_line_refusals
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start us with it ignored
{before}
with one_line_refusals():
    print("ready", flush=True)
    for _ in range(600):
        time.sleep(0.1)  # a signal just before a sleep is handled after it
"""


@POSIX
@pytest.mark.parametrize(
    ("number", "before", "status"),
    [
        (signal.SIGTERM, "", 128 + signal.SIGTERM),
        (signal.SIGINT, "", 128 + signal.SIGINT),
        (signal.SIGTERM, "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))", 7),  # a launcher's handler stays
    ],
)
def test_a_signal_ends_a_command_in_one_line(number: signal.Signals, before: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "dxa_tbs").mkdir()
    script = tmp_path / "dxa_tbs/train.py"
    script.write_text(STOPPABLE.format(before=before))
    command = [sys.executable, "-P", script, "model=model3", "name=a b"] if sys.version_info >= (3, 11) else []
    if not command:
        pytest.skip("python -P is new in 3.11")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, told = process.communicate()
    assert process.returncode == status
    expected = "dxa_tbs: stopped; to go on: python -m dxa_tbs.train model=model3 'name=a b'\n"
    assert told == ("" if before else expected)


def test_scratch_of_dead_processes_is_removed_and_that_of_living_ones_stays(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "a").write_bytes(b"1")

    dead, alive = tmp_path / "images-0123.abcd", tmp_path / "images-4567.efgh"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "half").write_bytes(b"1")
    entry, _ = None, None
    with FileLock(tmp_path / "images-4567.lock"):
        entry, _ = cached_folder(tmp_path, "things", {}, write)
    assert (alive / "half").is_file()
    assert not dead.exists()
    assert (entry / "a").is_file()


@contextlib.contextmanager
def small_disk(path: Path, size: str, options: str = "") -> Iterator[Path]:
    """Mount a disk of this size."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@POSIX
def test_a_full_disk_is_an_error_that_names_the_file_and_not_a_crash(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(OSError, match="free") as error:
            create_array(disk / "large.npy", np.dtype(np.uint8), (2 * 2**20,))
        assert error.value.errno == errno.ENOSPC
        assert not list(disk.iterdir())
        array = create_array(disk / "half.npy", np.dtype(np.uint8), (2**19,))
        array[:] = 1  # the space is there
        with pytest.raises(OSError, match="No space left") as error:
            write_text(disk / "history.csv", "x" * 2**20)
        assert error.value.filename == str(disk / "history.csv")
        told = explain(error.value)
        assert told.endswith("history.csv: No space left on device: free some space, then give the same command again: "
                             "it goes on")  # fmt: skip


@POSIX
def test_features_that_do_not_fit_on_the_disk_are_refused_with_both_ways_out(tmp_path: Path) -> None:
    pixels, normalise = (
        np.zeros((4, 224, 224), np.uint8),
        build_normalisation([0.0] * 3, [1.0] * 3, torch.device("cpu")),
    )
    told = r"too little space for the features \(needs .* GB.*give approach\.cache_features=false"
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(Refusal, match=told):
            frozen_features(
                nn.Flatten(), pixels, list("abcd"), normalise=normalise, precision=Precision.fp32, cache_dir=disk
            )
        assert [path.suffix for path in disk.iterdir()] == [".lock"]


def test_errors_that_name_no_file_get_its_name() -> None:
    with (
        pytest.raises(Refusal, match=r"^a/b: Input/output error: name a file"),
        one_line_errors(),
        named_errors(Path("a/b")),
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(OSError, match="no number"), one_line_errors():
        raise OSError("no number")  # not of the operating system: a defect, with its stack trace

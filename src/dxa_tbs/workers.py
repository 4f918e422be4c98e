"""Worker processes that end when their parent does, however it dies. Every room may import this module."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # slow to import, and not needed to refuse a setting
    import joblib

POLL_S = 1.0


def worker_processes(n_jobs: int, **settings: Any) -> joblib.Parallel:
    """Return joblib's pool of processes, which end within seconds of this process.

    Args:
        n_jobs, settings: arguments of `joblib.Parallel`.
    """
    import joblib

    return joblib.Parallel(
        n_jobs=n_jobs, backend="loky", initializer=end_with_process, initargs=(os.getpid(),), **settings
    )


def end_with_parent() -> None:
    """Let this process end with its parent if it is a worker, which another library may have started."""
    if multiprocessing.current_process().name != "MainProcess":
        end_with_process(os.getppid())


def end_with_process(pid: int) -> None:
    """Let this process end, at once and without clean-up, when another one has ended.

    A thread watches the other process. Linux could send a signal instead, but it would follow the thread that started
    the worker, not its process, and other systems have no such signal.
    """
    import psutil

    try:
        other = psutil.Process(pid)
    except psutil.NoSuchProcess:
        os._exit(1)

    def watch() -> None:
        while other.is_running() and other.status() != psutil.STATUS_ZOMBIE:
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-process", daemon=True).start()

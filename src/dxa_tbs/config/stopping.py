"""Stopping a command: SIGTERM acts like Ctrl-C, and the command that goes on is printed."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """End the command with one line when it is interrupted; the exit status is that of the signal.

    A handler of SIGTERM that somebody else has set, such as a cluster's launcher, stays.
    """
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except KeyboardInterrupt as stop:
        print(f"dxa_tbs: stopped; to go on: {_command()}", file=sys.stderr)
        sys.exit(128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _command() -> str:
    """Return the command that was given, as the user can type it again."""
    program = Path(sys.argv[0])
    is_module = program.suffix == ".py" and program.parent.name == "dxa_tbs"
    words = ["python", "-m", f"dxa_tbs.{program.stem}"] if is_module else [program.name]
    return (subprocess.list2cmdline if os.name == "nt" else shlex.join)([*words, *sys.argv[1:]])

"""A tracker in a process of its own: the library cannot change a result, print, raise or hang where the run is.

The run does not wait for the library, unless it is several epochs behind, and never longer than ANSWER_S.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from dxa_tbs.tracking.tracker import RunStart, Tracker
from dxa_tbs.tracking.worker import OK

ANSWER_S = 60.0  # for each answer; the first includes importing the library and creating its store
LEAVE_S = 10.0  # for the library to shut down once everything is stored
WINDOW = 8  # calls without an answer: they fit in a pipe, so that writing to it never blocks

log = logging.getLogger("dxa_tbs.tracking")


class _LostError(Exception):
    """Raised if the tracker failed; its text says how."""


class Remote:
    """A tracker whose calls are done by another process. None of them raises: a tracker that fails is dropped.

    Attributes:
        name: of the library, for the warning.
    """

    def __init__(self, name: str, function: str, start: RunStart, settings: Mapping[str, Any]) -> None:
        self.name = name
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._unanswered = 0
        self._process: subprocess.Popen[str] | None = None
        with self._dropped_if_lost():
            self._process = _start_worker()
            threading.Thread(target=self._read_answers, args=[self._process], daemon=True).start()
            self._send({"function": function, "start": dataclasses.asdict(start), "settings": dict(settings)})
            self._await_answers(0)

    def log_epoch(self, epoch: Mapping[str, float]) -> None:
        self._call("log_epoch", epoch)

    def finish(self, figures: Mapping[str, float]) -> None:
        self._call("finish", figures, unanswered=0)
        self._leave()

    def fail(self) -> None:
        self._call("fail", {}, unanswered=0)
        self._leave()

    def kill(self) -> None:
        """End the process, if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._leave()

    def _call(self, name: str, values: Mapping[str, float], *, unanswered: int = WINDOW) -> None:
        if self._process is not None:
            with self._dropped_if_lost():
                self._send([name, {key: float(value) for key, value in values.items()}])
                self._await_answers(unanswered)

    def _send(self, message: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        self._unanswered += 1

    def _await_answers(self, unanswered: int) -> None:
        """Take the answers that are there, and wait until no more than so many are lacking."""
        while self._unanswered > unanswered or (self._unanswered and not self._answers.empty()):
            try:
                answer = self._answers.get(timeout=ANSWER_S)
            except queue.Empty:
                raise _LostError(f"no answer within {ANSWER_S:g} s") from None
            if answer != OK:
                raise _LostError(answer or "its process has ended")
            self._unanswered -= 1

    def _read_answers(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed by _leave
            for line in process.stdout:
                self._answers.put(line.strip())
        self._answers.put("")

    @contextlib.contextmanager
    def _dropped_if_lost(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            text = str(error)
            if not isinstance(error, _LostError) and self._process is not None:  # it ended, and may have said why
                text = next(self._last_answers(), text)
            log.warning("%s is dropped, and the run goes on without it: %s", self.name, text)
            self.kill()

    def _last_answers(self) -> Iterator[str]:
        """Yield the answers that are not OK, until the process has ended."""
        with contextlib.suppress(queue.Empty):
            while answer := self._answers.get(timeout=LEAVE_S):
                if answer != OK:
                    yield answer

    def _leave(self) -> None:
        """Let the process end, or end it."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def tracked(name: str, function: str, start: RunStart, settings: Mapping[str, Any]) -> Iterator[Tracker]:
    """Yield a tracker for one run; it is told if the block raises.

    Args:
        name: of the tracker, for the warning.
        function: that opens it, as package.module:function; takes `start` and `settings`, returns a Tracker.
    """
    tracker = Remote(name, function, start, settings)
    try:
        yield tracker
    except BaseException:
        tracker.fail()
        raise
    finally:
        tracker.kill()


def _start_worker() -> subprocess.Popen[str]:
    """Start the process; it finds the same packages as this one, and its warnings and prints go nowhere."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)  # noqa: PTH109
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "dxa_tbs.tracking.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": path},
    )

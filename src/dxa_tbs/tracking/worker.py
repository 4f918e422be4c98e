"""The process of one tracker: python -m dxa_tbs.tracking.worker

It reads one line of JSON for each call, and answers each with one line: ok, or what went wrong. If its input ends
before the run does, the run's process was killed, and the run is recorded as failed.
"""

from __future__ import annotations

import json
import logging
import os
import pkgutil
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from dxa_tbs.tracking.tracker import RunStart, Tracker

OK = "ok"


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the run, which then says that it failed
    answers = _only_for_answers()
    logging.disable()
    try:
        for answer in _work(sys.stdin):
            print(answer, file=answers, flush=True)
    except Exception as error:
        print(_describe(error), file=answers, flush=True)
        sys.exit(1)


def _work(lines: TextIO) -> Iterator[str]:
    """Do what the lines say; yield an answer to each."""
    opening = json.loads(next(lines))
    tracker: Tracker = pkgutil.resolve_name(opening["function"])(RunStart(**opening["start"]), **opening["settings"])
    yield OK
    for line in lines:
        name, values = json.loads(line)
        _call(tracker, name, values)
        yield OK
        if name != "log_epoch":
            return
    tracker.fail()


def _call(tracker: Tracker, name: str, values: dict[str, Any]) -> None:
    if name == "log_epoch":
        tracker.log_epoch(values)
    elif name == "finish":
        tracker.finish(values)
    else:
        tracker.fail()


def _only_for_answers() -> TextIO:
    """Return standard output, and send what the library prints there to standard error instead."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _describe(error: Exception) -> str:
    """Return the type and text of an error in one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    main()

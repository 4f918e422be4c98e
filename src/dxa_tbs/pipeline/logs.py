"""The log file of a run, and the warnings for its record."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

OF_TRACKERS = "dxa_tbs.tracking"  # a logger


@contextlib.contextmanager
def gathered_warnings() -> Iterator[list[str]]:
    """Yield a list that collects every warning logged within the block, for the record of the run.

    That a tracker was dropped says nothing about the results, and is left to the log.
    """
    texts: list[str] = []

    class Gather(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != OF_TRACKERS:
                texts.append(record.getMessage())

    with _handler(Gather(logging.WARNING)):
        yield texts


@contextlib.contextmanager
def log_file(path: Path, *, so_far: Sequence[str]) -> Iterator[None]:
    path.write_text("".join(f"WARNING {text}\n" for text in so_far), encoding="utf-8")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    with _handler(handler):
        yield


@contextlib.contextmanager
def _handler(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("dxa_tbs")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()

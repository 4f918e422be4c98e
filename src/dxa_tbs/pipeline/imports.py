"""Large libraries, imported faster."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Import without garbage collection, which goes through all that was imported again and again and finds nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

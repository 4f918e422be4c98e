"""Faster imports of large libraries."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Pause garbage collection during imports, where it would scan all objects again and again and free nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

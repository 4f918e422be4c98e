"""What to do when a GPU has too little memory: fewer images at once, or one line that says so."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from dxa_tbs.errors import Refusal

log = logging.getLogger("dxa_tbs.training")

TOO_LITTLE_MEMORY = "the GPU has too little memory"
T = TypeVar("T")


@contextlib.contextmanager
def refusing_for_memory(text: str) -> Iterator[None]:
    """Turn an out-of-memory error into a refusal."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise Refusal(text) from None


def with_fewer_at_once(compute: Callable[[int], T], size: int) -> T:
    """Return compute(size), or with half as many images at once, and half again, until the GPU has room for them.

    Raises:
        torch.OutOfMemoryError: it has no room for one.
    """
    while size > 1:
        try:
            return compute(size)
        except torch.OutOfMemoryError:
            log.debug("no memory for %d images at once: %d", size, size // 2)
        size //= 2  # outside the handler, where the error would still hold the tensors of its frames
        release_memory()
    return compute(size)


def release_memory() -> None:
    """Give back what earlier runs of this process left on its GPUs."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()

"""Handling GPUs with too little memory: compute fewer images at once, or refuse in one line."""

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
    """Turn an out-of-memory error within the block into a refusal with this text."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise Refusal(text) from None


def with_fewer_at_once(compute: Callable[[int], T], size: int) -> T:
    """Return compute(size), halving the number of images `size` until the GPU has enough memory.

    Raises:
        torch.OutOfMemoryError: there is too little memory for a single image.
    """
    while size > 1:
        try:
            return compute(size)
        except torch.OutOfMemoryError:
            log.debug("no memory for %d images at once: trying %d", size, size // 2)
        size //= 2  # outside the handler: within it, the error still holds the tensors of its frames
        release_memory()
    return compute(size)


def release_memory() -> None:
    """Free the GPU memory that earlier runs in this process still hold."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()

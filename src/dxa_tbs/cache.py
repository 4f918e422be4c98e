"""What is made once and kept: folders named by a digest of all that they were made from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock


def cached_folder(
    cache_dir: Path, kind: str, recipe: Mapping[str, Any], write: Callable[[Path], None]
) -> tuple[Path, bool]:
    """Return the folder that holds what the recipe makes, and whether it was there; else `write` fills it.

    Of several processes one writes, and the others wait; what fails half-way leaves nothing behind.

    Args:
        recipe: all that can change the content, as JSON can hold it.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    entry = cache_dir / f"{kind}-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:20]}"
    with FileLock(f"{entry}.lock"):
        was_there = entry.is_dir()
        if not was_there:
            with replace_folder(entry) as folder:
                write(folder)
    return entry, was_there


@contextlib.contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder`, which must not exist, once all went well."""
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        yield scratch
        scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

"""The cache: folders named by a digest of everything that determines their content, and verified when opened."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dxa_tbs.disk import named_errors
from dxa_tbs.errors import Refusal

log = logging.getLogger("dxa_tbs.cache")

DIGESTS = "digests.json"  # digests of the recipe and of every block of the other files of an entry
BLOCK_BYTES = 4 << 20  # hashed as one piece, in parallel with others
READ_BYTES = 256 << 10


def cached_folder(
    cache_dir: Path, kind: str, recipe: Mapping[str, Any], write: Callable[[Path], None]
) -> tuple[Path, bool]:
    """Return the cache entry of a recipe, and whether it existed; a missing entry is filled by `write`.

    Before an entry is returned, every byte is compared with the digests stored beside it. A damaged entry is rebuilt,
    with a warning. If several processes need the same entry, one writes it and the others wait; processes that read the
    damaged entry keep their open files. If `write` fails, nothing is left behind.

    Args:
        kind: first part of the folder's name.
        recipe: everything that can change the content, as JSON values.
        write: fills the empty folder that it is given.

    Raises:
        Refusal: a damaged entry cannot be replaced.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    entry = cache_dir / f"{kind}-{key[:20]}"
    if entry.is_dir() and not _damage(entry, key):
        return entry, True
    _remove_scratch(cache_dir)
    with FileLock(f"{entry}.lock"):
        if entry.is_dir():
            damage = _damage(entry, key)  # checked again: another process may have replaced the entry meanwhile
            if not damage:
                return entry, True
            if (entry / DIGESTS).is_file():
                log.warning("cache: %s was damaged (%s) and is rebuilt", entry.name, damage)
            else:
                log.info("cache: %s was written by version 0.1.0, without digests, and is rebuilt", entry.name)
            _remove(entry)
        with named_errors(entry), replace_folder(entry) as folder:
            write(folder)
            digests = {"recipe": key, "files": _block_digests(sorted(folder.iterdir()))}
            (folder / DIGESTS).write_text(json.dumps(digests, indent=0), encoding="utf-8")
    return entry, False


def _remove_scratch(cache_dir: Path) -> None:
    """Remove unfinished folders of processes that died; a process that lives holds the lock of its entry."""
    for scratch in cache_dir.glob("*-*.*/"):
        with contextlib.suppress(Timeout), FileLock(scratch.with_suffix(".lock"), timeout=0):
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that is renamed to `folder`, which must not exist, if the block succeeds."""
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        yield scratch
        scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _damage(entry: Path, key: str) -> str:
    """Return the names of files that were changed or cannot be read; "" if the entry is intact."""
    try:
        stored = json.loads((entry / DIGESTS).read_text(encoding="utf-8"))
        if stored["recipe"] != key:
            return DIGESTS
        found = _block_digests(sorted(entry / name for name in stored["files"]))
        return ", ".join(name for name, digests in found.items() if digests != stored["files"][name])
    except OSError as error:
        return f"{Path(error.filename or entry).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return DIGESTS


def _block_digests(files: Sequence[Path]) -> dict[str, list[str]]:
    """Return the SHA-256 of each block of each file, by file name.

    Files are read, not memory-mapped: mapped pages would count as memory of the process.
    """
    blocks = [(path, start) for path in files for start in range(0, max(path.stat().st_size, 1), BLOCK_BYTES)]
    digests: dict[str, list[str]] = {path.name: [] for path in files}
    with ThreadPoolExecutor() as pool:  # hashlib releases the GIL
        for (path, _), digest in zip(blocks, pool.map(_digest_of_block, blocks), strict=True):
            digests[path.name].append(digest)
    return digests


def _digest_of_block(block: tuple[Path, int]) -> str:
    path, start = block
    digest, buffer, left = hashlib.sha256(), memoryview(bytearray(READ_BYTES)), BLOCK_BYTES
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (size := file.readinto(buffer[:left])):
            digest.update(buffer[:size])
            left -= size
    return digest.hexdigest()


def _remove(entry: Path) -> None:
    """Remove a damaged entry; renaming it first ensures that no process opens a partly deleted folder."""
    aside = entry.with_name(f"{entry.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        entry.rename(aside)
    except OSError as error:  # on Windows, if another process has it open
        raise Refusal(
            f"{entry} is damaged and cannot be replaced ({error.strerror}): end the runs that use it, then delete it"
        ) from None
    shutil.rmtree(aside, ignore_errors=True)

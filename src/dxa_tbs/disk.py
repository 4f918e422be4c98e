"""Writing on a disk that may be full, read-only or gone. Every room may import this module.

When a disk is full, a memory-mapped file without reserved space ends the process with a bus error. Errors of writing to
an open file do not name it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dxa_tbs.errors import Refusal

if TYPE_CHECKING:  # a refusal must not wait for it
    import numpy as np

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def create_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Return a new .npy file, memory-mapped for writing, whose space on the disk is reserved.

    Raises:
        OSError: the disk has too little space; nothing is left there.
    """
    import numpy as np

    require_space(path.parent, np.dtype(dtype).itemsize * int(np.prod(shape, dtype=object)))
    with named_errors(path):
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def require_space(folder: Path, num_bytes: int) -> None:
    """Check that a disk has room, before work begins.

    Raises:
        OSError: it has not.
    """
    if num_bytes > (free := shutil.disk_usage(folder).free):
        reason = f"needs {num_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, reason, str(folder))


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Give errors of the operating system within the block the name of the file or folder, if they have none."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors of the operating system that name a file or folder into refusals."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise Refusal(explain(error)) from error


def explain(error: OSError) -> str:
    """Return one line that names the file or folder, what is wrong with it, and the way out."""
    if error.errno in FULL:
        way_out = "free some space, then give the same command again: it goes on"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        way_out = "name a folder that can be written, with output_root=<folder> or cache_dir=<folder>"
    else:
        way_out = "name a file or folder that can be read and written"
    return f"{error.filename}: {error.strerror}: {way_out}"

"""Downloads of weights: with short time limits, checked by a hash, and complete or absent."""

from __future__ import annotations

import http.client
import os
import queue
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch

from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.progress import OnProgress, Progress, ignore_progress

FIRST_BYTE_TIMEOUT_S = 8.0  # some firewalls drop requests without an answer
SILENCE_TIMEOUT_S = 20.0  # between two parts of a file


def find_file(url: str, *, asked: str, on_progress: OnProgress = ignore_progress) -> Path:
    """Return the path of one of torchvision's files, which is kept in TORCH_HOME and downloaded if missing.

    Args:
        asked: the value of model.weights.

    Raises:
        Refusal: the file cannot be downloaded, or does not match the hash in its name.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        fetch(url, path, asked=asked, on_progress=on_progress)
    elif not matches_hash(path, path.name):
        raise Refusal(f"model.weights={asked}: {path} is damaged, or another file with that name: delete it")
    return path


def fetch(url: str, path: Path, *, asked: str = "imagenet", on_progress: OnProgress = ignore_progress) -> None:
    """Download a file that has its hash in its name; other processes see the complete file or none.

    Raises:
        Refusal: the server does not answer in time, or sends something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with opened(url) as answer, scratch.open("wb") as file:
            size = int(answer.headers.get("Content-Length", 0))
            while block := answer.read(1 << 16):
                file.write(block)
                on_progress(Progress(path.name, file.tell(), size or None, unit="B"))
        if not matches_hash(scratch, path.name):
            raise OSError(f"the {scratch.stat().st_size} bytes received are not that file")
        scratch.replace(path)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise Refusal(
            f"model.weights={asked}: {path.name} is not in {path.parent} and cannot be downloaded "
            f"({getattr(error, 'reason', error)}): put it there ({url}), or give model.weights=<path>, or "
            "model.weights=none (random initialisation)"
        ) from None
    finally:
        scratch.unlink(missing_ok=True)


def matches_hash(path: Path, name: str) -> bool:
    """Return whether a file's SHA-256 begins with the hexadecimal digits at the end of torchvision's name for it."""
    digits = re.fullmatch(r".*-([0-9a-f]{8,})\.pth", name)
    assert digits is not None
    return sha256_of_file(path).startswith(digits[1])


def opened(url: str) -> Any:
    """Open a URL; name resolution, connection and first byte together may take FIRST_BYTE_TIMEOUT_S."""
    answers: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=SILENCE_TIMEOUT_S))
        except Exception as error:  # raised again in the caller's thread
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=FIRST_BYTE_TIMEOUT_S)
    except queue.Empty:
        raise TimeoutError(f"no answer in {FIRST_BYTE_TIMEOUT_S:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer

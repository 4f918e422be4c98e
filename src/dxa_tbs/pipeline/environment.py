"""The software of a run and its platform, as far as they are known without torch."""

from __future__ import annotations

import datetime
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "dxa-tbs",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pillow",
    "timm",
    "hydra-core",
    "omegaconf",
)


def describe_software() -> dict[str, Any]:
    """Return versions, platform and, in a checkout, the git commit, with a + if tracked files were changed."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_commit": _git_commit(Path(__file__).resolve().parents[3]),
    }


def utc_now() -> str:
    """Return the current time in UTC, such as 2026-03-01T12:00:00+00:00."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit(top: Path) -> str | None:
    if not (top / ".git").exists():
        return None

    def git(*command: str) -> str:
        answer = subprocess.run(["git", "-C", top, *command], capture_output=True, text=True, timeout=10, check=True)
        return answer.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None

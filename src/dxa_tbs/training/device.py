"""Where a run computes, how exactly, and what to write down of it."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import torch

from dxa_tbs.errors import Refusal


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the first GPU if there is one.

    Raises:
        Refusal: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise Refusal(f"trainer.device={name} is no device: use auto, cpu, cuda or cuda:<number>")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise Refusal(f"trainer.device={name}: torch sees {torch.cuda.device_count()} CUDA devices: use auto or cpu")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def compute_exactly() -> None:
    """Choose full fp32 and kernels that repeat themselves, in this process."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was given, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return what of the device can move a result or a time."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else f"cpu ({torch.backends.cpu.get_cpu_capability()})",
        "driver": _driver_version() if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "threads": torch.get_num_threads(),
        "precision": "fp32",
        "deterministic": torch.backends.cudnn.deterministic,
    }


def _driver_version() -> str | None:
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    return answer.stdout.split("\n")[0].strip() or None

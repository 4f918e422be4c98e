"""Where a run computes, how exactly, and what to write down of it."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dxa_tbs.errors import Refusal


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the first GPU if there is one.

    Raises:
        Refusal: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cpu":
        return device
    device = torch.device("cuda", device.index or 0)
    if device.index >= torch.cuda.device_count():
        raise Refusal(f"trainer.device={name}: torch sees {torch.cuda.device_count()} CUDA devices: use auto or cpu")
    capability = torch.cuda.get_device_capability(device)
    if not has_kernels(capability, torch.cuda.get_arch_list()):
        raise Refusal(
            f"trainer.device={name}: this build of torch has no code for {torch.cuda.get_device_name(device)} (compute "
            f"capability {capability[0]}.{capability[1]}): install an older build (README, GPU), or use cpu"
        )
    return device


def has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether code built for `architectures` (sm_86: machine code, compute_90: portable) runs on a GPU.

    Machine code runs on later GPUs of the same major version, portable code on all later ones.
    """
    for architecture in architectures:
        kind, _, digits = architecture.rstrip("af").partition("_")
        major, minor = int(digits[:-1]), int(digits[-1])
        if (major, minor) <= capability and (kind == "compute" or major == capability[0]):
            return True
    return False


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


def measure_memory() -> None:
    """Let the measurement of peak memory begin anew, where the system lets a process do so."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mib(device: torch.device) -> dict[str, int | None]:
    """Return the most memory this process has held since `measure_memory`: on the host (Linux), and on the GPU."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    host = re.search(r"VmHWM:\s+(\d+) kB", status)
    return {
        "peak_memory_mib": int(host[1]) // 1024 if host else None,
        "peak_gpu_memory_mib": torch.cuda.max_memory_allocated(device) // 2**20 if device.type == "cuda" else None,
    }


def describe_device(device: torch.device, precision: str) -> dict[str, Any]:
    """Return what of the device can move a result or a time."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else f"cpu ({torch.backends.cpu.get_cpu_capability()})",
        "driver": _driver_version() if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "threads": torch.get_num_threads(),
        "precision": precision,
        "deterministic": torch.backends.cudnn.deterministic,
    }


def _driver_version() -> str | None:
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.split("\n")[0].strip() or None

"""The device of a run: choosing it, placing data on it, measuring its memory, and describing it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import re
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dxa_tbs.errors import Refusal

log = logging.getLogger("dxa_tbs.training")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the first GPU, or the CPU if there is no GPU.

    Raises:
        Refusal: the device does not exist, or this build of torch does not support it.
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
    torch.cuda.set_device(device)  # streams and graphs are created on the current device
    return device


def has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether code built for `architectures` runs on a GPU of this compute capability.

    Machine code (sm_86) runs on GPUs of the same major version and the same or a later minor version, portable code
    (compute_90) on all later GPUs. If no name is of these kinds (AMD's gfx90a), the answer is yes: torch will decide.
    """
    known = [match for name in architectures if (match := re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name))]
    for kind, major, minor in (match.groups() for match in known):
        if (int(major), int(minor)) <= capability and (kind == "compute" or int(major) == capability[0]):
            return True
    return not known


def keep_freed_memory() -> None:
    """Let this process keep up to 2 GB of freed memory for later allocations (Linux with glibc only).

    Every step allocates the same hundreds of megabytes. If they went back to the system, it would zero every page again
    on the next use, which takes a quarter of a small network's step.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library or system
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def place_inputs(inputs: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return images or features, (M, ...), on the device, or unchanged in host memory if they do not fit.

    They may take up to half of a GPU's free memory; the rest is left to the network.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        tensor = torch.from_numpy(inputs)
    if device.type == "cuda" and inputs.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        log.info("%.1f GB of images or features do not fit on the GPU and are read as needed", inputs.nbytes / 1e9)
        return tensor
    return tensor.to(device)


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all its work, so that times measured afterwards are right."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory() -> None:
    """Reset the peak memory of this process on the host, if the system supports it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def reset_peak_gpu_memory(device: torch.device) -> None:
    """Reset the peak memory of this process on a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mib(device: torch.device) -> dict[str, int | None]:
    """Return the peak memory of this process since the last reset, on the host (Linux only) and on the GPU."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    host = re.search(r"VmHWM:\s+(\d+) kB", status)
    return {
        "peak_memory_mib": int(host[1]) // 1024 if host else None,
        "peak_gpu_memory_mib": torch.cuda.max_memory_reserved(device) // 2**20 if device.type == "cuda" else None,
    }


def describe_device(device: torch.device, precision: str) -> dict[str, Any]:
    """Return the device settings that affect results or times."""
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

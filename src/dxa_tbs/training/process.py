"""Settings of the whole process, which a run makes once before it builds a network."""

from __future__ import annotations

import torch

from dxa_tbs.config.choices import Precision
from dxa_tbs.training.device import choose_device, keep_freed_memory, reset_peak_memory
from dxa_tbs.training.memory import release_memory
from dxa_tbs.training.precision import choose_precision, compute_exactly


def set_up_process(device: str, precision: Precision, *, seed: int) -> tuple[torch.device, Precision]:
    """Set up the process for a run; return the chosen device and precision.

    This releases the memory of earlier runs, resets the measured peak, selects the GPU, turns on deterministic kernels,
    allows or forbids tf32, sets how the allocator keeps freed memory, and seeds torch's global generator, from which
    initial weights and dropout are drawn.

    Args:
        device: auto, cpu, cuda or cuda:<number>.

    Raises:
        Refusal: there is no such device, or it does not support this precision.
    """
    reset_peak_memory()
    release_memory()
    chosen = choose_device(device)
    in_precision = choose_precision(precision, chosen)
    compute_exactly(in_precision)
    keep_freed_memory()
    torch.manual_seed(seed)
    return chosen, in_precision

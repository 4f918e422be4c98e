"""What a run sets for its whole process, once, before anything is built; no other function of training changes it."""

from __future__ import annotations

import torch

from dxa_tbs.config.choices import Precision
from dxa_tbs.training.device import choose_device, keep_freed_memory, reset_peak_memory
from dxa_tbs.training.memory import release_memory
from dxa_tbs.training.precision import choose_precision, compute_exactly


def set_up_process(device: str, precision: Precision, *, seed: int) -> tuple[torch.device, Precision]:
    """Set what holds for the whole process; return the device and the precision that were chosen.

    That is: memory of earlier runs is given back and its peak measured anew, the current GPU, deterministic kernels,
    whether tf32 is allowed, how the allocator keeps freed memory, and torch's global generator, from which the
    initial weights and dropout are drawn.

    Args:
        device: auto, cpu, cuda or cuda:<number>.

    Raises:
        Refusal: there is no such device, or it does not compute in this precision.
    """
    reset_peak_memory()
    release_memory()
    chosen = choose_device(device)
    in_precision = choose_precision(precision, chosen)
    compute_exactly(in_precision)
    keep_freed_memory()
    torch.manual_seed(seed)
    return chosen, in_precision

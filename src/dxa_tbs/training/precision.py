"""The floating-point format of convolutions and matrix products; weights, sums and losses stay fp32."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict

import torch
from torch import nn

from dxa_tbs.config.choices import Precision
from dxa_tbs.errors import Refusal

LOW = {Precision.bf16: torch.bfloat16, Precision.fp16: torch.float16}
AMPERE = (8, 0)  # lowest compute capability with bf16 and tf32 in hardware; torch also reports emulated bf16


def choose_precision(asked: Precision, device: torch.device) -> Precision:
    """Return the precision to use: the requested one, or for `auto` bf16 if the hardware supports it, else fp32.

    fp16 is never chosen automatically, because it gives NaN on the GTX 16xx.

    Raises:
        Refusal: the device does not support the requested precision.
    """
    on_gpu = device.type == "cuda"
    is_ampere = on_gpu and torch.cuda.get_device_capability(device) >= AMPERE
    if asked is Precision.auto:
        return Precision.bf16 if is_ampere or (not on_gpu and _cpu_has_bf16()) else Precision.fp32
    if not is_ampere and (asked is Precision.tf32 or (asked is Precision.bf16 and on_gpu)):
        raise Refusal(
            f"trainer.precision={asked.value}: {device} does not support it (NVIDIA GPUs do from the 30xx and A100 "
            "on): use auto"
        )
    if asked is Precision.fp16 and not on_gpu:
        raise Refusal("trainer.precision=fp16: only supported on GPUs: use auto")
    return asked


def _cpu_has_bf16() -> bool:
    tests = (
        "_is_avx512_bf16_supported",
        "_is_amx_tile_supported",
    )  # private names: older versions of torch have no public ones
    return any(getattr(torch.cpu, name, lambda: False)() for name in tests)


def compute_exactly(precision: Precision) -> None:
    """Make this process use deterministic kernels, and full fp32 unless `precision` is tf32."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32")  # torch 2.9.0
        torch.backends.cudnn.allow_tf32 = precision is Precision.tf32
        torch.backends.cuda.matmul.allow_tf32 = precision is Precision.tf32


def is_channels_last(device: torch.device, precision: Precision) -> bool:
    """Return whether images are stored with their channels last: always on a CPU, on a GPU only in 16 bits.

    Tensor cores need this layout in 16 bits. In fp32 it is slower: on a V100 a step took 2.76 s instead of 1.68 s
    (pytorch #44943).
    """
    return device.type == "cpu" or precision in LOW


def with_frozen_lowered(layers: nn.Sequential, precision: Precision) -> nn.Sequential:
    """Return the layers with frozen ones replaced by copies in low precision, rounded as autocast would in every step.

    AlexNet has 54 million frozen weights between the cut and its last layer; rounding them takes half of a step.
    """
    if precision not in LOW:
        return layers

    def lower(layer: nn.Module) -> nn.Module:
        is_frozen = not any(parameter.requires_grad for parameter in layer.parameters())
        return copy.deepcopy(layer).to(LOW[precision]) if is_frozen else layer

    return nn.Sequential(OrderedDict((name, lower(layer)) for name, layer in layers._modules.items()))


def lowered(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the autocast context for a precision; it does nothing for fp32 and tf32."""
    return torch.autocast(device.type, dtype=LOW.get(precision, torch.bfloat16), enabled=precision in LOW)

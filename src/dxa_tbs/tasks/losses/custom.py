"""A loss of the user's own, and a trial of it on a few outputs."""

from __future__ import annotations

import functools
import logging
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import import_named, refusing_failures
from dxa_tbs.tasks.task import Loss

if TYPE_CHECKING:
    import torch

log = logging.getLogger("dxa_tbs.experiment")

KEY = "loss.factory"


def custom_loss(*, factory: str, settings: Mapping[str, Any]) -> Loss:
    """Return the loss that the user's function builds.

    It is imported and built when the loss is first computed: an evaluation, which never trains, must not run the code.

    Args:
        factory: package.module:function; it returns a function of outputs (B, K) and targets (B,) to their mean loss.
        settings: its keyword arguments.
    """

    @functools.cache
    def built() -> Loss:
        build = import_named(factory, key=KEY)
        with refusing_failures(factory, key=KEY):
            return cast(Loss, build(**settings))

    return lambda outputs_BK, targets_B: built()(outputs_BK, targets_B)


def try_loss(loss: Loss, outputs_BK: torch.Tensor, targets_B: torch.Tensor, *, factory: str, is_split: bool) -> None:
    """Compute a loss of the user's own on a few outputs, and refuse it if training with it would go wrong.

    Args:
        outputs_BK, targets_B: of an even number of images.
        is_split: whether batches will be computed in parts.

    Raises:
        Refusal: it fails, returns anything but a mean over images, or returns another number for the same images.
    """
    import torch

    def compute(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        with refusing_failures(factory, key=KEY), warnings.catch_warnings():
            warnings.filterwarnings("error", message="Using a target size")  # (B, 1) against (B,) makes (B, B)
            return loss(outputs, targets)

    outputs_BK = outputs_BK.detach().requires_grad_()
    before = outputs_BK.detach().clone(), targets_B.clone()
    mean = compute(outputs_BK, targets_B)
    if not all(torch.equal(now, then) for now, then in zip((outputs_BK, targets_B), before, strict=True)):
        raise Refusal(f"{KEY}={factory}: changes outputs or targets in place: change copies of them")
    if not isinstance(mean, torch.Tensor) or mean.ndim or not mean.is_floating_point():
        got = f"a tensor {tuple(mean.shape)}" if isinstance(mean, torch.Tensor) else type(mean).__name__
        raise Refusal(f"{KEY}={factory}: its loss is {got}: return the mean over images, a tensor without dimensions")
    if not mean.requires_grad:
        raise Refusal(f"{KEY}={factory}: its loss does not depend on the outputs: compute it from them with torch")
    outputs_BK, value = outputs_BK.detach(), float(mean.detach())
    again = float(compute(outputs_BK, targets_B))
    if value != again and not math.isnan(value):
        raise Refusal(
            f"{KEY}={factory}: its loss is {value:.6g} and then {again:.6g} for the same images: it must depend on "
            "outputs and targets alone"
        )
    twice = float(compute(torch.cat([outputs_BK] * 2), torch.cat([targets_B] * 2)))
    if _are_close(twice, 2 * value) and not _are_close(twice, value):
        raise Refusal(f"{KEY}={factory}: its loss doubles with the number of images: return their mean, not their sum")
    half = len(targets_B) // 2
    parts = [float(compute(outputs_BK[part], targets_B[part])) for part in (slice(half), slice(half, None))]
    if not _are_close(sum(parts) / 2, value) and math.isfinite(value):
        text = f"{KEY}={factory}: its loss is not the mean of one term per image"
        if is_split:
            raise Refusal(f"{text}, which trainer.micro_batch_size needs: drop that")
        log.warning("%s: it depends on the batch size (if this is not meant: outputs are (B, K), targets (B,))", text)


def _are_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-7)

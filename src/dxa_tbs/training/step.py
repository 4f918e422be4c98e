"""One optimizer step on one batch: computed directly or, on a GPU, recorded once and replayed."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dxa_tbs.config.choices import Precision
from dxa_tbs.training.batches import Samples, ToInput
from dxa_tbs.training.precision import lowered

log = logging.getLogger("dxa_tbs.training")

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
WARM_UP_STEPS = 3  # must precede the recording of a CUDA graph
RECOVERS = (2, 12)  # the first version of torch that recovers from a failed recording (pytorch #180395)


@dataclass(frozen=True)
class Step:
    """A training step.

    Attributes:
        run: takes inputs and targets of a batch, updates the weights, and adds loss x images to `loss_sum`.
        loss_sum: on the device.
    """

    run: Callable[[torch.Tensor, torch.Tensor], None]
    optimizer: torch.optim.Optimizer
    loss_sum: torch.Tensor

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])


def build_optimizer(
    model: nn.Module, build: Callable[..., torch.optim.Optimizer], *, is_recorded: bool = False, **settings: float
) -> torch.optim.Optimizer:
    """Return an optimizer for the trainable parameters.

    Args:
        build: a class of torch.optim, or a function with the same arguments.
        is_recorded: whether its steps will be recorded as a CUDA graph.
        settings: lr, weight_decay, ...
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    known = inspect.signature(build).parameters
    how = {"capturable": is_recorded, "fused": is_fused(parameters[0].device)}
    return build(parameters, **settings, **{name: value for name, value in how.items() if name in known})


def is_fused(device: torch.device) -> bool | None:
    """Return the argument `fused` of torch's optimizers: True on a CPU, where it takes 40 % less time.

    On a GPU it is None: torch then updates all tensors in a few kernels (foreach), which fused=False would disable.
    """
    return True if device.type == "cpu" else None


def build_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    loss: Loss,
    to_input: ToInput,
    device: torch.device,
    micro_batch_size: int | None = None,
    precision: Precision = Precision.fp32,
) -> Step:
    """Return the step, computed directly.

    Args:
        loss: takes outputs (B, K) and targets (B,); returns the mean over images.
        micro_batch_size: number of images computed at once; gradients are summed over the batch. None: the whole batch.
        precision: of convolutions and matrix products; with fp16 the loss is scaled, so that small gradients do not
            vanish.
    """
    loss_sum = torch.zeros((), device=device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision is Precision.fp16)

    def run(inputs_B: torch.Tensor, targets_B: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        size = micro_batch_size or len(targets_B)
        for inputs, targets in zip(inputs_B.split(size), targets_B.split(size), strict=True):
            with lowered(device, precision):
                outputs_BK = model(to_input(inputs))
            mean = loss(outputs_BK.float(), targets)
            scaler.scale(mean * (len(targets) / len(targets_B))).backward()
            loss_sum.add_(mean.detach() * len(targets))
        scaler.step(optimizer)
        scaler.update()

    return Step(run, optimizer, loss_sum)


def batch_sizes(num_samples: int, batch_size: int) -> list[int]:
    """Return the batch sizes of an epoch, largest first: the last batch may be smaller."""
    return sorted({min(batch_size, num_samples), num_samples % batch_size} - {0}, reverse=True)


def record_step(step: Step, model: nn.Module, samples: Samples, sizes: Sequence[int]) -> Step:
    """Return a step that replays CUDA graphs, one for each batch size; recording does not change the weights.

    The model must be in training mode already.

    A step of a small network launches hundreds of kernels of a few microseconds each, less than one launch takes; a
    graph launches them all at once. All sizes warm up before the first is recorded, because a graph keeps its memory.
    """
    device = samples.targets_N.device
    aside = torch.cuda.Stream(device)  # given to the capture too: torch's default belongs to the first GPU it recorded
    batches = {size: samples.take(torch.arange(size)) for size in sizes}
    graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]] = {}
    pool = None
    with undone(step, model):
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for inputs_B, targets_B in batches.values():
                for _ in range(WARM_UP_STEPS):
                    step.run(inputs_B, targets_B)
        torch.cuda.current_stream(device).wait_stream(aside)
        step.optimizer.zero_grad(set_to_none=True)
        for size, (inputs_B, targets_B) in batches.items():
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=aside):
                step.run(inputs_B, targets_B)
            pool = graph.pool()
            graphs[size] = (graph, inputs_B, targets_B)

    def run(inputs_B: torch.Tensor, targets_B: torch.Tensor) -> None:
        graph, inputs, targets = graphs[len(targets_B)]  # the graph reads these two tensors
        inputs.copy_(inputs_B, non_blocking=True)
        targets.copy_(targets_B, non_blocking=True)
        graph.replay()

    return Step(run, step.optimizer, step.loss_sum)


def record_if_possible(step: Step, model: nn.Module, samples: Samples, sizes: Sequence[int]) -> Step:
    """Return the recorded step; if recording fails, log a warning and return the step itself.

    Raises:
        torch.OutOfMemoryError: the GPU has too little memory.
        RuntimeError: recording fails, and torch is older than 2.12: its memory is then corrupt.
    """
    try:
        return record_step(step, model, samples, sizes)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if tuple(map(int, torch.__version__.split(".")[:2])) < RECOVERS:
            raise
        log.warning("the step cannot be recorded as a CUDA graph and is slower: %s", str(error).splitlines()[0])
        return step


@contextlib.contextmanager
def undone(step: Step, model: nn.Module) -> Iterator[None]:
    """Undo the steps within the block: restore weights, buffers, the optimizer's state and the sum of losses."""
    moved = [*(weight for weight in model.parameters() if weight.requires_grad), *model.buffers()]
    kept = [tensor.detach().to("cpu", copy=True) for tensor in moved]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, before in zip(moved, kept, strict=True):
                tensor.copy_(before)
            for values in step.optimizer.state.values():  # zeros act like the empty state before the first step
                for value in values.values():
                    if isinstance(value, torch.Tensor):
                        value.zero_()
            step.loss_sum.zero_()

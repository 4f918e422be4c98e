"""One optimizer step on one batch: computed directly or, on a GPU, recorded once and replayed."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dxa_tbs.config.choices import Precision
from dxa_tbs.training.batches import Samples, ToInput
from dxa_tbs.training.precision import lowered
from dxa_tbs.training.rates import RateNotFollowedError, rate_setter, rates_on_device, require_followed
from dxa_tbs.training.schedules import Schedule, keep_rates

log = logging.getLogger("dxa_tbs.training")

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
BEGIN_WITH_ZEROS = {
    *(torch.optim.Adam, torch.optim.AdamW, torch.optim.RAdam),
    *(torch.optim.RMSprop, torch.optim.Adamax, torch.optim.Adadelta),
}
WARM_UP_STEPS = 3  # must precede the recording of a CUDA graph
RECOVERS = (2, 12)  # the first version of torch that recovers from a failed recording (pytorch #180395)


@dataclass(frozen=True)
class Step:
    """A training step.

    Attributes:
        run: takes inputs and targets of a batch, updates the weights, and adds loss x images to `loss_sum`.
        loss_sum: on the device.
        scaler: of the loss, in fp16; disabled otherwise.
        schedule: takes the watched loss of an epoch, and sets the learning rates of the next one.
        averaged: a network with the average of the weights, which is validated, kept and tested; None: there is none.
    """

    run: Callable[[torch.Tensor, torch.Tensor], None]
    optimizer: torch.optim.Optimizer
    loss_sum: torch.Tensor
    scaler: torch.amp.GradScaler
    schedule: Schedule = keep_rates
    averaged: nn.Module | None = None

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])


def build_optimizer(
    model: nn.Module,
    build: Callable[..., torch.optim.Optimizer],
    *,
    is_recorded: bool = False,
    is_scheduled: bool = False,
    **settings: Any,
) -> torch.optim.Optimizer:
    """Return an optimizer for the trainable parameters.

    Args:
        build: a class of torch.optim, or a function with the same arguments.
        is_recorded: whether its steps will be recorded as a CUDA graph.
        is_scheduled: whether its learning rate changes during training.
        settings: lr, weight_decay, ...
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    known = inspect.signature(build).parameters
    # recorded with a changing learning rate: only fused kernels of torch's SGD read it from the device
    fused = is_fused(parameters[0].device) or (True if is_recorded and is_scheduled else None)
    how = {"capturable": is_recorded, "fused": fused}
    return build(parameters, **settings, **{name: value for name, value in how.items() if name in known})


def is_fused(device: torch.device) -> bool | None:
    """Return the argument `fused` of torch's optimizers: True on a CPU, where it takes 40 % less time.

    On a GPU it is None: torch then updates all tensors in a few kernels (foreach), which fused=False would disable.
    """
    return True if device.type == "cpu" else None


def can_be_recorded(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a recorded step of this optimizer computes what the step itself computes.

    Only torch's own are known to. Most count their steps, and must do so on the device (`capturable`): a recorded step
    would repeat a number that is kept on the host. Their state must begin with zeros, because `undone` sets it to zero.
    """
    groups = optimizer.param_groups
    if type(optimizer) is torch.optim.SGD:
        return not any(group["dampening"] for group in groups)
    return type(optimizer) in BEGIN_WITH_ZEROS and all(group.get("capturable") for group in groups)


def build_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    loss: Loss,
    to_input: ToInput,
    device: torch.device,
    micro_batch_size: int | None = None,
    precision: Precision = Precision.fp32,
    schedule: Schedule = keep_rates,
) -> Step:
    """Return the step, computed directly.

    Args:
        loss: takes outputs (B, K) and targets (B,); returns the mean over images.
        micro_batch_size: number of images computed at once; gradients are summed over the batch. None: the whole batch.
        precision: of convolutions and matrix products; with fp16 the loss is scaled, so that small gradients do not
            vanish.
        schedule: of this optimizer.
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

    return Step(run, optimizer, loss_sum, scaler, schedule)


def batch_sizes(num_samples: int, batch_size: int) -> list[int]:
    """Return the batch sizes of an epoch, largest first: the last batch may be smaller."""
    return sorted({min(batch_size, num_samples), num_samples % batch_size} - {0}, reverse=True)


def record_step(
    step: Step, model: nn.Module, samples: Samples, sizes: Sequence[int], *, is_scheduled: bool = False
) -> Step:
    """Return a step that replays CUDA graphs, one for each batch size; recording does not change the weights.

    The model must be in training mode already.

    A step of a small network launches hundreds of kernels of a few microseconds each, less than one launch takes; a
    graph launches them all at once. All sizes warm up before the first is recorded, because a graph keeps its memory.

    Args:
        is_scheduled: whether the learning rate changes during training; the graphs then read it from the device.

    Raises:
        RateNotFollowedError: the graphs do not follow the learning rate.
    """
    device = samples.targets_N.device
    aside = torch.cuda.Stream(device)  # given to the capture too: torch's default belongs to the first GPU it recorded
    batches = {size: samples.take(torch.arange(size)) for size in sizes}
    graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]] = {}
    pool = None
    with undone(step, model), rates_on_device(step.optimizer, device, is_needed=is_scheduled) as rates:
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
        if is_scheduled:
            require_followed([graph for graph, *_ in graphs.values()], rates, model, step.optimizer)
    set_rates = rate_setter(step.optimizer, rates)

    def run(inputs_B: torch.Tensor, targets_B: torch.Tensor) -> None:
        graph, inputs, targets = graphs[len(targets_B)]  # the graph reads these two tensors
        inputs.copy_(inputs_B, non_blocking=True)
        targets.copy_(targets_B, non_blocking=True)
        set_rates()
        graph.replay()

    return dataclasses.replace(step, run=run)


def record_if_possible(
    step: Step, model: nn.Module, samples: Samples, sizes: Sequence[int], *, schedule: str | None = None
) -> Step:
    """Return the recorded step; if recording fails, log a warning and return the step itself.

    Args:
        schedule: name of the schedule of the learning rate; None: it is constant.

    Raises:
        torch.OutOfMemoryError: the GPU has too little memory.
        RuntimeError: recording fails, and torch is older than 2.12: its memory is then corrupt.
    """
    try:
        return record_step(step, model, samples, sizes, is_scheduled=schedule is not None)
    except torch.OutOfMemoryError:
        raise
    except RateNotFollowedError as error:
        log.warning("schedule=%s: the step is not recorded as a CUDA graph and is slower: %s", schedule, error)
        return step
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

"""The training loop for one network on one device. It works for any task and takes images by index."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from dxa_tbs.config.choices import Precision
from dxa_tbs.errors import Refusal
from dxa_tbs.progress import OnProgress, Progress, ignore_progress
from dxa_tbs.training.batches import Samples, ToInput, predict_outputs
from dxa_tbs.training.device import synchronise
from dxa_tbs.training.modes import enter_training
from dxa_tbs.training.step import Loss, Step

State = dict[str, torch.Tensor]


class Judge(Protocol):
    """How outputs for validation images are judged: the attributes of `dxa_tbs.tasks.task.Task` that the loop uses."""

    @property
    def loss(self) -> Loss:
        """Compute the mean loss over images from outputs (N, K) and targets (N,)."""

    @property
    def to_scores(self) -> Callable[[torch.Tensor], np.ndarray]:
        """Convert outputs (N, K) to scores, float64 (N,) or (N, S)."""

    @property
    def metric_name(self) -> str:
        """The name of the metric: its column in the history is val_originals_<metric_name>."""

    @property
    def metric(self) -> Callable[[np.ndarray, np.ndarray], float]:
        """Compute the metric from targets and scores."""


@dataclass(frozen=True)
class Fitted:
    """The result of training.

    Attributes:
        state: the trained parameters and the buffers to test, or their average at the end of the tested epoch.
        tested_epoch: the epoch of `state`.
        stopped_by: epochs, patience or nan.
        history: one line per epoch, see `fit`.
    """

    state: State
    tested_epoch: int
    stopped_by: str
    history: list[dict[str, float]]


def fit(
    model: nn.Module,
    train: Samples,
    watched: Samples,
    *,
    is_original_N: np.ndarray,
    step: Step,
    orders: Iterator[torch.Tensor],
    judge: Judge,
    to_input: ToInput,
    batch_size: int,
    moves_frozen_bn: bool = False,
    precision: Precision = Precision.fp32,
    epochs: int,
    patience: int | None,
    keeps_last: bool,
    on_progress: OnProgress = ignore_progress,
) -> Fitted:
    """Train `model` in place and return the weights to test.

    A line of the history contains epoch; train_loss; watched_loss, of all watched images, which may include augmented
    copies; val_originals_loss and val_originals_<metric>, of the validation originals only; lr; train_s and val_s.
    Losses are means over images.

    Args:
        watched: the validation images whose loss decides when to stop and which epoch to test.
        is_original_N: bool; which watched images are originals, not augmented copies.
        step: the training step of the model, with the schedule of its learning rate. If it averages the weights, the
            average is what is validated and kept; the model goes on training with its own weights.
        orders: the order of the training images in each epoch, int64 (N,); an image may occur several times.
        to_input: converts a batch of the samples' inputs to the input of the model.
        precision: the precision of validation.
        moves_frozen_bn: whether BatchNorm layers with frozen weights still update their statistics.
        patience: epochs without a lower watched loss before training ends; None: never before `epochs`.
        keeps_last: whether to test the last epoch instead of the one with the lowest watched loss.
        on_progress: called after each batch and, with the line of the history, after each epoch with finite losses.

    Raises:
        Refusal: a loss is NaN or infinite in the first epoch, so that there are no weights to test.
    """
    device = train.targets_N.device
    judged = model if step.averaged is None else step.averaged
    originals = torch.from_numpy(np.flatnonzero(is_original_N)).to(device)
    lowest, lowest_epoch, kept, kept_epoch = math.inf, 0, dict[str, torch.Tensor](), 0
    stopped_by, history = "epochs", list[dict[str, float]]()
    total = epochs * len(train)
    for number in range(1, epochs + 1):
        start = _now(device)
        enter_training(model, moves_frozen_bn=moves_frozen_bn)
        order_N = next(orders).to(train.rows_N.device)
        assert len(order_N) == len(train), "an epoch has as many images as the training set"
        so_far = Progress("training", (number - 1) * len(train), total)
        train_loss = _train_epoch(train.in_epoch(number), step, order_N.split(batch_size), so_far, on_progress)
        middle = _now(device)
        validated = _validate(judged, watched, originals, to_input, precision, judge)
        watched_loss = validated["watched_loss"]
        times = {"train_s": middle - start, "val_s": _now(device) - middle}
        if not math.isfinite(train_loss + watched_loss):
            stopped_by = "nan"
            break
        if watched_loss < lowest:
            lowest, lowest_epoch = watched_loss, number
        if keeps_last or lowest_epoch == number:
            kept, kept_epoch = _keep_trained(judged, kept), number
        history.append({"epoch": number, "train_loss": train_loss, **validated, "lr": step.lr, **times})
        on_progress(Progress("training", number * len(train), total, epoch=history[-1]))
        if patience is not None and number - lowest_epoch >= patience:
            stopped_by = "patience"
            break
        if number < epochs:
            step.schedule(watched_loss)
    if not kept:
        lr = step.optimizer.param_groups[0].get("initial_lr", step.lr)  # without the schedule's warm-up
        raise Refusal(f"the loss is not a number after one epoch: lower optimizer.lr={lr}")
    return Fitted(kept, kept_epoch, stopped_by, history)


def _train_epoch(
    train: Samples, step: Step, indices: Sequence[torch.Tensor], so_far: Progress, on_progress: OnProgress
) -> float:
    """Return the mean loss over all images, including the last, smaller batch; wait for the device only at the end."""
    step.loss_sum.zero_()
    done = so_far.done
    for inputs_B, targets_B in train.batches(indices):
        step.run(inputs_B, targets_B)
        done += len(targets_B)
        on_progress(Progress(so_far.stage, done, so_far.total))
    return step.loss_sum.item() / len(train)


def _validate(
    model: nn.Module,
    watched: Samples,
    originals: torch.Tensor,
    to_input: ToInput,
    precision: Precision,
    judge: Judge,
) -> dict[str, float]:
    """Return the watched loss, and the loss and the metric of the originals."""
    outputs = predict_outputs(model, watched, to_input, precision)
    watched_loss = judge.loss(outputs, watched.targets_N).item()
    loss, metric = math.nan, math.nan
    if math.isfinite(watched_loss):
        outputs, targets = outputs[originals], watched.targets_N[originals]
        loss = judge.loss(outputs, targets).item()
        metric = judge.metric(targets.cpu().numpy(), judge.to_scores(outputs))
    return {
        "watched_loss": watched_loss,
        "val_originals_loss": loss,
        f"val_originals_{judge.metric_name}": metric,
    }


def _keep_trained(model: nn.Module, earlier: State) -> State:
    """Copy trained parameters and buffers, over the earlier copy if there is one; on the model's device if it fits."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    state = {name: tensor.detach() for name, tensor in model.state_dict().items() if name not in frozen}
    kept = earlier or {name: _empty_like(tensor) for name, tensor in state.items()}
    for name, tensor in state.items():
        kept[name].copy_(tensor)
    return kept


def _empty_like(tensor: torch.Tensor) -> torch.Tensor:
    try:
        return torch.empty_like(tensor)
    except torch.OutOfMemoryError:
        return torch.empty_like(tensor, device="cpu")


def _now(device: torch.device) -> float:
    synchronise(device)
    return time.perf_counter()

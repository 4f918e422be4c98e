"""The training loop: one network, one device, images by index."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dxa_tbs.config.choices import Precision
from dxa_tbs.errors import Refusal
from dxa_tbs.training.batches import Samples, ToInput, cross_entropy, predict_logits, to_scores
from dxa_tbs.training.device import synchronise
from dxa_tbs.training.step import Step, enter_training

log = logging.getLogger("dxa_tbs.training")

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Epoch:
    """One line of history.csv; losses are means over images.

    Attributes:
        watched_loss: on all images that are watched, among which there may be augmented copies.
        val_originals_loss, val_originals_auc: on the validation originals alone.
    """

    epoch: int
    train_loss: float
    watched_loss: float
    val_originals_loss: float
    val_originals_auc: float
    lr: float
    train_s: float
    val_s: float


@dataclass(frozen=True)
class Fitted:
    """What came of training.

    Attributes:
        state: of the weights to test, what training changes: trained parameters and buffers.
        tested_epoch: theirs.
        stopped_by: epochs, patience or nan.
    """

    state: State
    tested_epoch: int
    stopped_by: str


def fit(
    model: nn.Module,
    train: Samples,
    watched: Samples,
    *,
    is_original_N: np.ndarray,
    step: Step,
    to_input: ToInput,
    batch_size: int,
    moves_frozen_bn: bool = False,
    precision: Precision = Precision.fp32,
    epochs: int,
    patience: int | None,
    keeps_last: bool,
    seed: int,
    auc: Callable[[np.ndarray, np.ndarray], float],
    on_epoch: Callable[[Epoch], None],
) -> Fitted:
    """Train `model` in place and return the weights to test.

    Args:
        watched: the validation images whose loss decides when to stop and which epoch to test.
        is_original_N: bool, which of them are originals, not augmented copies.
        step: of the model.
        to_input: from a batch of what the samples hold to what the model takes.
        precision: in which validation computes.
        moves_frozen_bn: whether BatchNorm layers without trained weights still follow the batches.
        patience: epochs without a lower watched loss before training ends; None: never before `epochs`.
        keeps_last: test the last epoch, not the one of the lowest watched loss.
        seed: of the order of the images.
        auc: of labels and scores, for the history.
        on_epoch: called after every epoch whose losses are numbers.

    Raises:
        Refusal: a loss is no number in the first epoch: there are no weights worth testing.
    """
    device = train.labels_N.device
    order = torch.Generator().manual_seed(seed)
    originals = torch.from_numpy(np.flatnonzero(is_original_N)).to(device)
    lowest, lowest_epoch, kept, kept_epoch = math.inf, 0, dict[str, torch.Tensor](), 0
    stopped_by = "epochs"
    with tqdm(total=epochs * len(train), unit="image", disable=None) as bar:
        for number in range(1, epochs + 1):
            start = _now(device)
            enter_training(model, moves_frozen_bn=moves_frozen_bn)
            shuffled = torch.randperm(len(train), generator=order).to(train.rows_N.device)
            train_loss = _train_epoch(train, step, shuffled.split(batch_size), bar)
            middle = _now(device)
            watched_loss, val_loss, val_auc = _validate(model, watched, originals, to_input, precision, auc)
            epoch = Epoch(
                number,
                train_loss,
                watched_loss,
                val_loss,
                val_auc,
                step.lr,
                middle - start,
                _now(device) - middle,
            )
            if not math.isfinite(train_loss + watched_loss):
                stopped_by = "nan"
                break
            if watched_loss < lowest:
                lowest, lowest_epoch = watched_loss, number
            if keeps_last or lowest_epoch == number:
                kept, kept_epoch = _keep_trained(model, kept), number
            on_epoch(epoch)
            _report(epoch, epochs, bar)
            if patience is not None and number - lowest_epoch >= patience:
                stopped_by = "patience"
                break
    if not kept:
        raise Refusal(f"the loss is not a number after one epoch: lower optimizer.lr={step.lr}")
    return Fitted(kept, kept_epoch, stopped_by)


def _train_epoch(train: Samples, step: Step, indices: Sequence[torch.Tensor], bar: tqdm[Any]) -> float:
    """Return the mean loss over all images, the last, smaller batch included; waits for the device once, at the end."""
    step.loss_sum.zero_()
    for inputs_B, labels_B in train.batches(indices):
        step.run(inputs_B, labels_B)
        bar.update(len(labels_B))
    return step.loss_sum.item() / len(train)


def _validate(
    model: nn.Module,
    watched: Samples,
    originals: torch.Tensor,
    to_input: ToInput,
    precision: Precision,
    auc: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[float, float, float]:
    """Return the watched loss, and loss and AUC of the originals."""
    logits = predict_logits(model, watched, to_input, precision)
    watched_loss = cross_entropy(logits, watched.labels_N).item()
    if not math.isfinite(watched_loss):
        return watched_loss, math.nan, math.nan
    logits, labels = logits[originals], watched.labels_N[originals]
    return watched_loss, cross_entropy(logits, labels).item(), auc(labels.cpu().numpy(), to_scores(logits))


def _report(epoch: Epoch, epochs: int, bar: tqdm[Any]) -> None:
    bar.set_description(f"epoch {epoch.epoch}/{epochs}")
    val_loss, val_auc = epoch.val_originals_loss, epoch.val_originals_auc
    bar.set_postfix(loss=f"{epoch.train_loss:.3f}", val_loss=f"{val_loss:.3f}", val_auc=f"{val_auc:.3f}")
    log.log(
        logging.INFO if bar.disable else logging.DEBUG,  # on a terminal the bar says it; train.log takes both levels
        "epoch %d/%d: loss %.4f, val loss %.4f, val AUC %.3f, %.1f s + %.1f s",
        *(epoch.epoch, epochs, epoch.train_loss, val_loss, val_auc, epoch.train_s, epoch.val_s),
    )


def _keep_trained(model: nn.Module, earlier: State) -> State:
    """Return a copy of what training changes, in the place of an earlier one; on the model's device if it has room."""
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

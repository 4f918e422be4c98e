"""Learning rates by epoch, and how a recorded step follows them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed, image_set
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, ReduceLROnPlateau, SequentialLR

from dxa_tbs.config.checks import check_config
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.train import new_network, train
from dxa_tbs.training.batches import Samples
from dxa_tbs.training.custom import custom_optimizer
from dxa_tbs.training.rates import RateNotFollowedError, rate_setter, rates_on_device, require_followed
from dxa_tbs.training.sampling import shuffle
from dxa_tbs.training.schedules import Schedule, constant, cosine, plateau
from dxa_tbs.training.step import (
    Step,
    batch_sizes,
    build_optimizer,
    build_step,
    can_be_recorded,
    record_if_possible,
)

CPU = torch.device("cpu")
LR = 0.04
ON_CPU = ("trainer.device=cpu", "trainer.precision=fp32")
TINY = ("model=model3", "model.filters=[2,2,2,2,2]", "model.fc_widths=[4]", *ON_CPU)


def sgd(**settings: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=LR, **settings)


def rates(optimizer: torch.optim.Optimizer, schedule: Schedule, losses: list[float]) -> list[float]:
    """Return the learning rate of each epoch."""
    found = []
    for loss in losses:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule(loss)
    return found


def test_a_constant_learning_rate_stays() -> None:
    optimizer = sgd()
    assert rates(optimizer, constant(optimizer, epochs=5), [1.0] * 5) == [LR] * 5


@pytest.mark.parametrize("warmup_epochs", [0, 1, 3])
def test_cosine_is_its_closed_form_and_torchs_own(warmup_epochs: int) -> None:
    epochs, optimizer = 12, sgd()
    found = rates(optimizer, cosine(optimizer, epochs=epochs, warmup_epochs=warmup_epochs), [1.0] * epochs)
    rising = [LR * epoch / (warmup_epochs + 1) for epoch in range(1, warmup_epochs + 1)]
    length = epochs - warmup_epochs
    falling = [LR / 2 * (1 + math.cos(math.pi * t / length)) for t in range(length)]
    assert found == pytest.approx(rising + falling)
    assert found[warmup_epochs] == LR
    assert found[-1] > 0

    optimizer = sgd()
    down = CosineAnnealingLR(optimizer, length)
    theirs: Any = down
    if warmup_epochs:
        up = LinearLR(optimizer, 1 / (warmup_epochs + 1), total_iters=warmup_epochs)
        theirs = SequentialLR(optimizer, [up, down], [warmup_epochs])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions of torch warn of what SequentialLR itself does
        expected = rates(optimizer, lambda loss: theirs.step(), [1.0] * epochs)
    assert found == pytest.approx(expected)


def test_plateau_lowers_the_rate_after_so_many_epochs_without_a_lower_loss() -> None:
    losses = [5.0, 4.0, 4.0, 4.5, 3.9999, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    optimizer = sgd()
    found = rates(optimizer, plateau(optimizer, epochs=12, warmup_epochs=0, factor=0.5, patience=2), losses)
    # lowest in epochs 2, 5 and 8: lowered after 4, 7, 10, and, counted anew, 12
    assert found == pytest.approx([LR] * 4 + [LR / 2] * 3 + [LR / 4] * 3 + [LR / 8] * 2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(LR / 16)

    optimizer = sgd()
    theirs = ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0.0, threshold_mode="abs")
    assert rates(optimizer, theirs.step, losses) == found


def test_plateau_counts_from_the_end_of_the_warm_up() -> None:
    optimizer = sgd()
    schedule = plateau(optimizer, epochs=9, warmup_epochs=3, factor=0.1, patience=2)
    found = rates(optimizer, schedule, [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    assert found == pytest.approx([LR / 4, LR / 2, LR * 3 / 4, LR, LR, LR, LR / 10])


def noise(num_train: int = 12, num_val: int = 6) -> Any:
    """Return images of noise; every third is Degraded."""
    rng, size = np.random.default_rng(0), num_train + num_val
    pixels, numbers = rng.integers(0, 256, (size, 224, 224), np.uint8), np.arange(size)
    return image_set(pixels, (numbers % 3 == 0).astype(int), num_train=num_train)


OPTIONS = {
    "weighted": ["loss=weighted"],
    "focal": ["loss=focal", "loss.class_weights=balanced"],
    "sampling": ["sampling=balanced"],
    "cosine": ["schedule=cosine", "schedule.warmup_epochs=1"],
    "average": ["trainer.ema_decay=0.5"],
    "all": ["loss=focal", "sampling=balanced", "schedule=cosine", "trainer.ema_decay=0.5"],
    "radam": ["optimizer=custom", "optimizer.factory=torch.optim:RAdam"],
}
HEAD = ("model=squeezenet", "approach=head", "model.weights=none", *ON_CPU)


MEASURED = ["train_loss", "watched_loss", "lr"]


@functools.cache
def history_of(cache_dir: Path, *typed: str) -> Any:
    small = ("trainer.epochs=3", "trainer.batch_size=8", f"cache_dir={cache_dir}")
    config = composed(*small, *typed)
    check_config(config)
    return train(noise(), config).history[MEASURED]


@pytest.mark.parametrize("typed", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("network", [TINY, HEAD], ids=["whole", "cached features"])
def test_each_option_changes_the_training_of_a_network_and_of_a_head(
    network: tuple[str, ...], typed: list[str], cache_dir: Path
) -> None:
    found = history_of(cache_dir, *network, "optimizer.lr=0.01", *typed)
    assert np.isfinite(found.to_numpy()).all()
    assert not found.equals(history_of(cache_dir, *network, "optimizer.lr=0.01"))
    if "schedule.warmup_epochs=1" in typed:
        assert found["lr"].tolist() == pytest.approx([0.005, 0.01, 0.005])


def test_plateau_follows_the_watched_loss_of_the_history(cache_dir: Path) -> None:
    typed = ["schedule=plateau", "schedule.patience=1", "schedule.factor=0.5", "trainer.epochs=8", "optimizer.lr=0.04"]
    found = history_of(cache_dir, *TINY, *typed)
    lowest, expected = math.inf, [LR]
    for loss in found["watched_loss"][:-1]:
        expected.append(expected[-1] * (1 if loss < lowest else 0.5))
        lowest = min(lowest, loss)
    assert found["lr"].tolist() == pytest.approx(expected)
    assert expected[-1] < LR


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["schedule=cosine", "schedule.warmup_epochs=-1"], r"schedule\.warmup_epochs=-1: must be at least 0"),
        (
            ["schedule=cosine", "schedule.warmup_epochs=200"],
            r"must be below trainer\.epochs=200, else the",
        ),
        (["schedule=plateau", "schedule.warmup_epochs=7", "trainer.epochs=7"], r"must be below trainer\.epochs=7"),
        (["schedule=plateau", "schedule.factor=1"], r"schedule\.factor=1\.0: must be above 0 and below 1"),
        (["schedule=plateau", "schedule.patience=0"], r"schedule\.patience=0: must be at least 1"),
        (["schedule=plateau", "schedule.patience=15"], r"must be below trainer\.patience=15, else training stops"),
        (["trainer.ema_decay=0"], r"trainer\.ema_decay=0\.0: must be above 0 and below 1, or null"),
        (["trainer.ema_decay=1"], r"trainer\.ema_decay=1\.0: must be above 0"),
    ],
)
def test_settings_of_a_schedule_that_cannot_act_are_refused(typed: list[str], told: str) -> None:
    with pytest.raises(Refusal, match=told):
        check_config(composed(*typed))
    check_config(composed("schedule=plateau", "schedule.patience=15", "trainer.patience=null"))


TORCHS = "torch.optim.lr_scheduler"
BY_PATH = [
    (["schedule=custom", f"schedule.factory={TORCHS}:StepLR", "+schedule.settings.step_size=0.5"], None),
    (["schedule=custom", f"schedule.factory={TORCHS}:OneCycleLR"], r"fails \(TypeError: .*max_lr"),
    (
        ["schedule=custom", f"schedule.factory={TORCHS}:OneCycleLR", "+schedule.settings.max_lr=1",
         "+schedule.settings.total_steps=200"],
        "changes momentum: it may change the learning rate only",
    ),
    (["schedule=custom", "schedule.factory=own_training:rising"], r"sets a learning rate of -0\.2 for epoch 2"),
    (["schedule=custom", "schedule.factory=own_training:nothing"], "returns NoneType: return a scheduler of torch"),
    (["optimizer=custom", "optimizer.lr=1", "optimizer.factory=own_training:nothing"], "returns NoneType: return"),
    (["optimizer=custom", "optimizer.lr=1", "optimizer.factory=torch.optim:LBFGS"], r"fails \(TypeError: .*closure"),
    (["optimizer=custom", "optimizer.lr=1", "optimizer.factory=torch.optim:RAdam", "+optimizer.settings.rho=1"],
     r"optimizer\.factory=torch\.optim:RAdam: fails \(TypeError: .*rho"),
    (["optimizer=custom", "optimizer.lr=1", "optimizer.factory=own_training:first_alone"],
     "leaves out 1 of 2 parameters"),
    (["optimizer=custom", "optimizer.lr=1", "optimizer.factory=own_training:faster"],
     r"does not use optimizer\.lr=1\.0"),
    (["optimizer=custom", "optimizer.lr=1", "optimizer.factory=own_training:leaves"], r"fails \(SystemExit: 0"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "told"), BY_PATH)
def test_optimizers_and_schedules_by_path_are_tried_before_any_image_is_decoded(
    typed: list[str], told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("own_training", None)
    Path("own_training.py").write_text(
        "from torch.optim.lr_scheduler import LambdaLR\n"
        "from torch.optim import SGD\n"
        "def nothing(first, **settings): pass\n"
        "def first_alone(parameters, lr): return SGD(list(parameters)[:1], lr=lr)\n"
        "def faster(parameters, lr): return SGD(parameters, lr=5 * lr)\n"
        "def leaves(parameters, lr): raise SystemExit(0)\n"
        "def rising(optimizer, epochs): return LambdaLR(optimizer, lambda epoch: 1 if epoch == 0 else -epochs)\n"
    )
    if told is None:
        new_network(composed(*TINY, *typed))
        return
    with pytest.raises(Refusal, match=told) as refusal:
        new_network(composed(*TINY, *typed))
    assert "\n" not in str(refusal.value)


def test_an_optimizer_by_path_is_torchs_own_with_its_settings() -> None:
    model = nn.Linear(3, 2)
    settings = {"betas": (0.5, 0.6), "weight_decay": 0.1}
    optimizer = build_optimizer(model, custom_optimizer, lr=0.3, factory="torch.optim:NAdam", settings=settings)
    assert type(optimizer) is torch.optim.NAdam
    assert {key: optimizer.param_groups[0][key] for key in ("lr", *settings)} == {"lr": 0.3, **settings}


def test_only_optimizers_that_count_on_the_device_can_be_recorded() -> None:
    class Counts(torch.optim.SGD):
        """Could keep a number on the host."""

    weights = [nn.Parameter(torch.ones(1))]
    assert can_be_recorded(torch.optim.SGD(weights, lr=0.1))
    assert not can_be_recorded(torch.optim.Adagrad(weights, lr=0.1))
    assert not can_be_recorded(torch.optim.AdamW(weights, lr=0.1))
    assert not can_be_recorded(Counts(weights, lr=0.1))
    adamw = torch.optim.AdamW(weights, lr=0.1)
    adamw.param_groups[0]["capturable"] = True  # torch refuses to build it on a CPU
    assert can_be_recorded(adamw)


def test_learning_rates_are_tensors_within_the_block_and_numbers_behind_it() -> None:
    optimizer = sgd()
    with contextlib.suppress(ZeroDivisionError), rates_on_device(optimizer, CPU, is_needed=True) as tensors:
        assert optimizer.param_groups[0]["lr"] is tensors[0]
        assert tensors[0].item() == pytest.approx(LR)
        raise ZeroDivisionError
    assert optimizer.param_groups[0]["lr"] == LR
    set_rates = rate_setter(optimizer, tensors)
    for number in (0.5, 0.5, 0.25):
        optimizer.param_groups[0]["lr"] = number
        set_rates()
        assert tensors[0].item() == number
    with rates_on_device(optimizer, CPU, is_needed=False) as none:
        assert (len(none), optimizer.param_groups[0]["lr"]) == (0, 0.25)


class Recorded:
    """Stands in for a CUDA graph: repeats a step with the learning rate, number or tensor, that was there at first."""

    def __init__(self, step: Step, *batch: torch.Tensor) -> None:
        self.step, self.batch = step, batch
        self.rate = step.optimizer.param_groups[0]["lr"]

    def replay(self) -> None:
        group = self.step.optimizer.param_groups[0]
        now, group["lr"] = group["lr"], self.rate
        self.step.run(*self.batch)
        group["lr"] = now


def linear_step(lr: float = 0.5) -> tuple[nn.Module, Step, Samples]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    inputs, targets = torch.randn(20, 3), (torch.arange(20) % 2).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, fused=True)
    schedule = cosine(optimizer, epochs=4, warmup_epochs=1)
    step = build_step(
        model,
        optimizer,
        loss=lambda outputs, targets: nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], targets),
        to_input=lambda images: images,
        device=CPU,
        schedule=schedule,
    )
    return model, step, Samples(inputs, torch.arange(20), targets)


def test_a_recording_that_holds_a_learning_rate_of_its_own_is_noticed() -> None:
    model, step, samples = linear_step()
    batch = samples.take(torch.arange(8))
    with rates_on_device(step.optimizer, CPU, is_needed=True) as tensors:
        require_followed([Recorded(step, *batch)], tensors, model, step.optimizer)  # type: ignore[list-item]
    baked = Recorded(step, *batch)
    with (
        pytest.raises(RateNotFollowedError, match="SGD moves weights at a learning rate of 0"),
        rates_on_device(step.optimizer, CPU, is_needed=True) as tensors,
    ):
        require_followed([baked], tensors, model, step.optimizer)  # type: ignore[list-item]


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Put stand-ins for CUDA streams and graphs into place; `step` is the one that they repeat."""
    to_repeat: dict[str, Any] = {"is_baked": False}

    class Stream:
        def __init__(self, device: object = None) -> None: ...

        def wait_stream(self, other: object) -> None: ...

    class Graph:
        def pool(self) -> None: ...

        def replay(self) -> None:
            self.recorded.replay()

    @contextlib.contextmanager
    def graph(made: Any, **where: object) -> Iterator[None]:
        to_repeat["making"] = made
        yield
        del to_repeat["making"]

    for name, stand_in in (("Stream", Stream), ("CUDAGraph", Graph), ("graph", graph), ("current_stream", Stream)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    yield to_repeat


def recording(step: Step, to_repeat: dict[str, Any]) -> Step:
    def run(*batch: torch.Tensor) -> None:
        if "making" in to_repeat:
            recorded = Recorded(step, *batch)
            recorded.rate = 0.5 if to_repeat["is_baked"] else recorded.rate
            to_repeat["making"].recorded = recorded
        step.run(*batch)

    return dataclasses.replace(step, run=run)


def weights_after_four_epochs(model: nn.Module, step: Step, samples: Samples) -> tuple[list[float], torch.Tensor]:
    orders, found = shuffle(samples.targets_N, seed=0), []
    for _ in range(4):
        found.append(step.lr)
        for batch in samples.batches(next(orders).split(8)):
            step.run(*batch)
        step.schedule(1.0)
    return found, next(model.parameters()).detach()


def test_a_recorded_step_follows_the_schedule(stand_ins: dict[str, Any]) -> None:
    direct_rates, direct = weights_after_four_epochs(*linear_step())
    model, step, samples = linear_step()
    before = next(model.parameters()).detach().clone()
    step = record_if_possible(recording(step, stand_ins), model, samples, batch_sizes(20, 8), schedule="cosine")
    assert torch.equal(next(model.parameters()), before)  # what was tried is undone
    recorded_rates, recorded = weights_after_four_epochs(model, step, samples)
    assert recorded_rates == direct_rates == pytest.approx([0.25, 0.5, 0.375, 0.125])
    assert torch.allclose(recorded, direct, rtol=1e-5)
    _, constant_rate = weights_after_four_epochs(*_without_schedule(linear_step()))
    assert not torch.allclose(recorded, constant_rate, rtol=1e-2)


def _without_schedule(made: tuple[nn.Module, Step, Samples]) -> tuple[nn.Module, Step, Samples]:
    model, step, samples = made
    return model, dataclasses.replace(step, schedule=lambda loss: None), samples


def test_a_step_that_does_not_follow_the_schedule_is_not_recorded_and_named(
    stand_ins: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stand_ins["is_baked"] = True
    model, step, samples = linear_step()
    before = next(model.parameters()).detach().clone()
    original = recording(step, stand_ins)
    assert record_if_possible(original, model, samples, [8], schedule="cosine") is original
    assert caplog.messages == [
        "schedule=cosine: the step is not recorded as a CUDA graph and is slower: SGD moves weights at a learning rate "
        "of 0"
    ]
    assert torch.equal(next(model.parameters()), before)
    assert step.optimizer.param_groups[0]["lr"] == 0.25  # a number again, that of the warm-up

"""The moving average of the weights."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed, image_set
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dxa_tbs.models.adhoc import build_adhoc
from dxa_tbs.pipeline.learner import predict_all
from dxa_tbs.pipeline.train import train
from dxa_tbs.tasks.binary import binary_task
from dxa_tbs.tasks.losses import cross_entropy
from dxa_tbs.training.averaging import averaged_copy, with_average
from dxa_tbs.training.batches import Samples, predict_outputs
from dxa_tbs.training.blocks import with_fast_blocks
from dxa_tbs.training.fit import fit
from dxa_tbs.training.sampling import shuffle
from dxa_tbs.training.step import Step, build_optimizer, build_step

CPU = torch.device("cpu")


def images(count: int = 24) -> Samples:
    draws = torch.Generator().manual_seed(0)
    return Samples(
        torch.randn(count, 3, 12, 12, generator=draws), torch.arange(count), (torch.arange(count) % 2).float()
    )


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 1)
    )


def step_of(model: nn.Module, lr: float = 0.1) -> Step:
    optimizer = build_optimizer(model, torch.optim.SGD, lr=lr, momentum=0.9)
    return build_step(model, optimizer, loss=cross_entropy, to_input=lambda images: images, device=CPU)


@pytest.mark.parametrize("makes_fast", [False, True])
def test_the_average_is_torchs_own_of_weights_and_buffers(makes_fast: bool) -> None:
    model: nn.Module = network().train()
    if makes_fast:
        model = with_fast_blocks(model, takes_one_channel=False)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    step, samples = step_of(model), images()
    step = with_average(step, model, decay=0.9)
    assert step.averaged is not None
    for number in range(9):
        step.run(*samples.take(torch.arange(8) + number))
        theirs.update_parameters(model)
        expected, current = theirs.module.state_dict(), model.state_dict()
        for name, value in step.averaged.state_dict().items():  # torch also averages whole numbers, and cuts them off
            assert torch.equal(value, expected[name] if value.is_floating_point() else current[name])
    moved = [name for name, value in step.averaged.state_dict().items() if not torch.equal(value, current[name])]
    assert {name.split(".")[-1] for name in moved} == {"weight", "bias", "running_mean", "running_var"}


def setting_weights(model: nn.Linear, values: list[float], scales: list[float] | None = None) -> Step:
    """Return a step that sets the weight to one value after the other; its scaler has these scales."""
    left = iter(values)

    class Scaler:
        def __init__(self) -> None:
            self.told = iter(scales or [1.0] * (2 * len(values)))

        def get_scale(self) -> float:
            return next(self.told)

    def run(inputs_B: torch.Tensor, targets_B: torch.Tensor) -> None:
        model.weight.data.fill_(next(left))

    return dataclasses.replace(step_of(model), run=run, scaler=Scaler())  # type: ignore[arg-type]


def averages(model: nn.Linear, step: Step, count: int) -> list[float]:
    found = []
    for _ in range(count):
        step.run(*images().take(torch.arange(8)))
        assert isinstance(step.averaged, nn.Linear)
        found.append(step.averaged.weight.item())
    return found


def test_three_steps_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    step = with_average(setting_weights(model, [8.0, 4.0, 0.0]), model, decay=0.75)
    assert averages(model, step, 3) == [8.0, 0.75 * 8 + 0.25 * 4, 0.75 * 7]


def test_a_step_that_fp16_skips_is_averaged_neither_first_nor_later() -> None:
    """The scaler halves its scale after a skipped step, and doubles it now and then."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    scales = [64.0, 32.0, 32.0, 32.0, 32.0, 16.0, 16.0, 32.0]  # before and after each of four steps
    step = with_average(setting_weights(model, [5.0, 8.0, 5.0, 4.0], scales), model, decay=0.75)
    assert averages(model, step, 4) == [1.0, 8.0, 8.0, 7.0]


def test_frozen_weights_are_shared_and_the_copy_has_no_other_part_of_the_model() -> None:
    model = network()
    model[0].requires_grad_(False)
    averaged = averaged_copy(model)
    ours, theirs = dict(model.named_parameters()), dict(averaged.named_parameters())
    assert [name for name in ours if ours[name] is theirs[name]] == ["0.weight", "0.bias"]
    assert [weight.requires_grad for weight in ours.values()] == [weight.requires_grad for weight in theirs.values()]
    assert not {id(buffer) for buffer in model.buffers()} & {id(buffer) for buffer in averaged.buffers()}


def fitted(decay: float | None, **changes: Any) -> tuple[nn.Module, Any]:
    model, samples = network(), images()
    step = step_of(model, lr=0.05)
    if decay is not None:
        step = with_average(step, model, decay=decay)
    settings: dict[str, Any] = {"epochs": 6, "patience": None, "keeps_last": False, **changes}
    return model, fit(
        model,
        samples,
        samples,
        is_original_N=np.ones(len(samples), bool),
        step=step,
        orders=shuffle(samples.targets_N, seed=0),
        judge=binary_task(loss=cross_entropy),
        to_input=lambda images: images,
        batch_size=8,
        **settings,
    )


def test_the_average_is_validated_and_kept_and_the_weights_train_on_as_without_it() -> None:
    raw_model, raw = fitted(None)
    model, averaged = fitted(0.8)
    assert [epoch["train_loss"] for epoch in averaged.history] == [epoch["train_loss"] for epoch in raw.history]
    assert [epoch["watched_loss"] for epoch in averaged.history] != [epoch["watched_loss"] for epoch in raw.history]
    assert all(torch.equal(value, raw_model.state_dict()[name]) for name, value in model.state_dict().items())
    kept = copy.deepcopy(model)
    kept.load_state_dict(averaged.state)
    loss = cross_entropy(predict_outputs(kept, images(), lambda images: images), images().targets_N).item()
    assert loss == min(epoch["watched_loss"] for epoch in averaged.history)
    assert loss == averaged.history[averaged.tested_epoch - 1]["watched_loss"]


def test_the_last_average_is_kept_on_request() -> None:
    _, last = fitted(0.8, keeps_last=True)
    assert last.tested_epoch == 6
    kept = network()
    kept.load_state_dict(last.state)
    outputs = predict_outputs(kept, images(), lambda images: images)
    assert cross_entropy(outputs, images().targets_N).item() == last.history[-1]["watched_loss"]


@pytest.mark.parametrize("approach", ["adhoc", "head"])
def test_a_run_tests_the_average_that_it_validated(approach: str, cache_dir: Any) -> None:
    """Through fast blocks, which share the network's weights, and behind a frozen backbone."""
    own = {
        "adhoc": ("model=model3", "model.filters=[2,2,2,2,2]", "model.fc_widths=[4]"),
        "head": ("model=squeezenet", "approach=head", "model.weights=none"),
    }[approach]
    size = 18
    pixels = np.random.default_rng(0).integers(0, 256, (size, 224, 224), np.uint8)
    config = composed(
        *own, "trainer.ema_decay=0.6", "trainer.epochs=2", "trainer.batch_size=4", "optimizer.lr=0.01",
        "trainer.device=cpu", "trainer.precision=fp32", f"cache_dir={cache_dir}",
    )  # fmt: skip
    trained = train(image_set(pixels, np.arange(size) % 2, num_train=12), config)
    assert trained.inputs is not None
    outputs = predict_all(trained.learner, trained.inputs)[12:]
    loss = cross_entropy(outputs, torch.arange(12.0, 18.0) % 2).item()
    assert loss == pytest.approx(trained.history["watched_loss"][trained.facts["tested_epoch"] - 1], rel=1e-6)
    whole = trained.network.model.eval()(trained.network.normalise.to_input(torch.from_numpy(pixels[12:])))
    assert torch.allclose(whole, outputs, atol=1e-5)  # and so does the network that model.pt is written from


def test_the_weights_of_an_ad_hoc_network_of_the_paper_can_be_averaged() -> None:
    model = build_adhoc([4], [3])
    assert averaged_copy(model).state_dict().keys() == model.state_dict().keys()

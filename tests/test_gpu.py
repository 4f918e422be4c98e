"""Tests that need a GPU with about 8 GB of memory: python -m pytest -m gpu tests/test_gpu.py"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, defaults_of, image_set
from torch import nn

from dxa_tbs.config.choices import Precision
from dxa_tbs.config.kinds import function_of
from dxa_tbs.config.schema import Config
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.pipeline.learner import Inputs, build_learner, place, take_samples
from dxa_tbs.pipeline.optimizer import build_schedule, optimizer_settings
from dxa_tbs.pipeline.train import new_network, prepare_step, train
from dxa_tbs.training.averaging import with_average
from dxa_tbs.training.batches import Samples
from dxa_tbs.training.changing import ChangingSamples
from dxa_tbs.training.device import peak_memory_mib, reset_peak_gpu_memory
from dxa_tbs.training.modes import enter_training
from dxa_tbs.training.precision import AMPERE, compute_exactly
from dxa_tbs.training.sampling import shuffle
from dxa_tbs.training.step import Step, build_optimizer, build_step
from dxa_tbs.training.step_check import disagreement

ADHOC = [f"model{number}" for number in (1, 2, 3, 4)]
PRETRAINED = ["alexnet", "resnet18", "vgg16", "densenet121", "squeezenet"]
BATCH_SIZE, NUM_IMAGES = 8, 93  # 12 batches, the last of 5
SIX_GB = int(5.4e9)  # the driver takes the rest


def configured(name: str, *typed: str, device: str = "cuda") -> Config:
    own = ["approach=adhoc"] if name in ADHOC else ["approach=full", "model.weights=none"]
    size = f"trainer.batch_size={BATCH_SIZE}"
    return composed(f"model={name}", *own, f"trainer.device={device}", size, *typed)


def prepared(config: Config, *, is_recorded: bool) -> tuple[nn.Module, Samples, Step]:
    """Return network, images and step; equal configurations give equal results."""
    network = new_network(config)
    learner = build_learner(network, caches_features=False)
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 224, 224), dtype=np.uint8)
    rows = np.arange(NUM_IMAGES)
    samples = take_samples(learner, place(learner, Inputs(pixels, [])), rows, rows % 2)
    if is_recorded:
        return learner.model, samples, prepare_step(network, learner, samples, config)
    optimizer = build_optimizer(
        learner.model,
        function_of("optimizer", config.optimizer),
        is_recorded=True,
        is_scheduled=config.schedule.name != "constant",
        **optimizer_settings(config),
    )
    step = build_step(
        learner.model,
        optimizer,
        loss=network.task.loss,
        to_input=learner.to_input,
        device=learner.device,
        precision=learner.precision,
        schedule=build_schedule(optimizer, config),
    )
    if config.trainer.ema_decay is not None:
        step = with_average(step, learner.model, decay=config.trainer.ema_decay)
    enter_training(learner.model, moves_frozen_bn=False)
    return learner.model, samples, step


def states(config: Config, *, is_recorded: bool) -> dict[str, torch.Tensor]:
    """Return weights, buffers and the sum of losses after one epoch."""
    model, samples, step = prepared(config, is_recorded=is_recorded)
    order = torch.randperm(NUM_IMAGES, generator=torch.Generator().manual_seed(1))
    for batch in samples.batches(order.to(samples.rows_N.device).split(config.trainer.batch_size)):
        step.run(*batch)
    return {**model.state_dict(), "loss": step.loss_sum}


def assert_equal_states(config: Config) -> None:
    written, once, again = (states(config, is_recorded=is_recorded) for is_recorded in (False, True, True))
    assert [name for name in once if not torch.equal(once[name], again[name])] == [], "recorded twice"
    assert [name for name in once if not torch.equal(once[name], written[name])] == [], "against the written step"


def test_the_comparison_of_states_is_bit_for_bit() -> None:
    """On a CPU no step is recorded, so this tests only the comparison."""
    assert_equal_states(configured("model3", "trainer.precision=fp32", device="cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ADHOC + PRETRAINED)
def test_a_recorded_step_trains_the_same_bits_as_an_eager_one(name: str, precision: str, optimizer: str) -> None:
    if precision == "bf16" and torch.cuda.get_device_capability() < AMPERE:
        pytest.skip("this GPU has no bf16")
    if optimizer == "adamw" and name not in ("model4", "squeezenet"):
        pytest.skip("two networks are enough")
    without_dropout = ["model.dropout=0", "model.backbone_dropout=0"] if name in PRETRAINED else []
    assert_equal_states(configured(name, f"trainer.precision={precision}", f"optimizer={optimizer}", *without_dropout))


def scheduled(config: Config, *, is_recorded: bool) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Return the weights and their average after all epochs, and the learning rate of each epoch."""
    model, samples, step = prepared(config, is_recorded=is_recorded)
    rates, orders = [], shuffle(samples.targets_N, seed=1)
    for _ in range(config.trainer.epochs):
        rates.append(step.lr)
        for batch in samples.batches(next(orders).to(samples.rows_N.device).split(config.trainer.batch_size)):
            step.run(*batch)
        step.schedule(1.0)
    assert step.averaged is not None
    averages = {f"averaged {name}": value for name, value in step.averaged.state_dict().items()}
    return {**model.state_dict(), **averages}, rates


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", ["model3", "squeezenet"])
def test_a_recorded_step_follows_the_schedule_and_is_averaged(
    name: str, optimizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A number and a tensor are rounded differently on their way to the kernel."""
    own = ["model.dropout=0"] if name == "squeezenet" else []
    typed = [*own, "trainer.precision=fp32", f"optimizer={optimizer}", "trainer.epochs=4", "trainer.ema_decay=0.9"]
    cosine = ["schedule=cosine", "schedule.warmup_epochs=1"]
    (direct, rates), (recorded, same_rates) = (
        scheduled(configured(name, *typed, *cosine), is_recorded=is_recorded) for is_recorded in (False, True)
    )
    assert not [text for text in caplog.messages if "not recorded" in text or "cannot be recorded" in text]
    assert rates == same_rates
    assert [rate / rates[1] for rate in rates] == pytest.approx([0.5, 1, 0.75, 0.25])
    assert [key for key in direct if not torch.allclose(direct[key], recorded[key], rtol=1e-3, atol=1e-5)] == []
    constant, _ = scheduled(configured(name, *typed), is_recorded=True)
    assert any(not torch.allclose(constant[key], recorded[key], rtol=1e-3, atol=1e-5) for key in recorded)


@pytest.mark.gpu
def test_weighted_and_focal_losses_are_recorded(caplog: pytest.LogCaptureFixture) -> None:
    for typed in (["loss=weighted", "loss.class_weights=[1,4]"], ["loss=focal", "loss.class_weights=[1,4]"]):
        assert_equal_states(configured("model3", "trainer.precision=fp32", *typed))
    assert not [text for text in caplog.messages if "recorded" in text]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["alexnet", "squeezenet"])
def test_every_replay_drops_different_values(name: str) -> None:
    _, samples, step = prepared(configured(name, "optimizer.lr=1e-30"), is_recorded=True)
    losses = []
    for _ in range(3):
        step.loss_sum.zero_()
        step.run(*samples.take(torch.arange(BATCH_SIZE)))
        losses.append(step.loss_sum.item())
    assert len(set(losses)) == 3


@pytest.mark.gpu
@pytest.mark.parametrize("name", ADHOC + PRETRAINED)
def test_bf16_passes_the_check_before_training(name: str) -> None:
    if torch.cuda.get_device_capability() < AMPERE:
        pytest.skip("this GPU has no bf16")
    config = configured(name, "trainer.precision=fp32")
    network = new_network(config)
    assert disagreement(network.model, network.normalise, Precision.bf16, loss=network.task.loss) is None
    compute_exactly(Precision.fp32)


@pytest.mark.gpu
@pytest.mark.parametrize("build", [torch.optim.SGD, torch.optim.AdamW])
def test_the_optimizer_updates_all_weights_in_a_few_kernels(build: Any) -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(50))).cuda()
    optimizer = build_optimizer(model, build, lr=0.1, weight_decay=0.0, is_recorded=True)
    model(torch.ones(2, 4, device="cuda")).sum().backward()
    optimizer.step()  # the first step creates momentum and moments
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        optimizer.step()
        torch.cuda.synchronize()
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    assert 0 < len(kernels) < 50  # for 100 tensors


@contextlib.contextmanager
def memory_of(num_bytes: int) -> Iterator[None]:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(num_bytes / torch.cuda.get_device_properties(0).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def epoch_to_test(config: Config, num_train: int, num_val: int) -> int:
    """Train on noise; return the epoch whose weights would be tested."""
    rng, size = np.random.default_rng(0), num_train + num_val
    images = image_set(rng.integers(0, 256, (size, 224, 224), dtype=np.uint8), np.arange(size) % 2, num_train=num_train)
    return int(train(images, config).facts["tested_epoch"])


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_vgg16_trains_at_batch_24_on_a_card_of_6_gb(precision: str) -> None:
    config = configured("vgg16", f"trainer.precision={precision}", "trainer.batch_size=24", "trainer.epochs=2")
    with memory_of(SIX_GB):
        assert epoch_to_test(config, 67, 70) in (1, 2)  # 24 + 24 + 19 images; validation 64 + 6


@pytest.mark.gpu
def test_too_little_memory_for_weights_or_batch_is_refused_in_one_line() -> None:
    with memory_of(200 * 2**20), pytest.raises(Refusal, match=r"too little memory for vgg16: use trainer\.device=cpu"):
        epoch_to_test(configured("vgg16", "trainer.precision=fp32"), 16, 8)
    config = configured("squeezenet", "trainer.precision=fp32", "trainer.batch_size=512")
    with memory_of(900 * 2**20), pytest.raises(Refusal, match=r"512 images at once: give trainer\.micro_batch_size"):
        epoch_to_test(config, 512, 8)


@pytest.mark.gpu
def test_validation_continues_with_fewer_images_at_once() -> None:
    config = configured("vgg16", "trainer.precision=fp32", "trainer.batch_size=1", "trainer.epochs=1")
    with memory_of(int(2.3 * 2**30)):  # 64 images need 1.6 GB, besides 1.5 GB for weights, gradients and momentum
        assert epoch_to_test(config, 2, 64) == 1


@pytest.mark.gpu
def test_peak_memory_is_that_of_the_device_in_use_and_includes_graphs() -> None:
    device = torch.device("cuda", 0)
    reset_peak_gpu_memory(device)
    before = peak_memory_mib(device)["peak_gpu_memory_mib"]
    held = torch.empty(300 * 2**20, dtype=torch.uint8, device=device)
    after = peak_memory_mib(device)["peak_gpu_memory_mib"]
    assert before is not None and after is not None
    assert len(held) // 2**20 <= after - before <= 340


@pytest.mark.gpu
def test_batches_copied_from_the_host_are_correct_even_if_the_gpu_is_busy() -> None:
    device, rows = torch.device("cuda", 0), torch.randperm(2000)
    pixels, labels = torch.randint(0, 256, (2000, 64, 64), dtype=torch.uint8), torch.arange(2000.0)
    resident = Samples(pixels.to(device), rows.to(device), labels.to(device))
    streamed = Samples(pixels, rows, labels.to(device))
    indices = torch.randperm(2000).split(24)
    assert not streamed.is_resident
    found = []
    for inputs, numbers in streamed.batches(indices):
        torch.cuda._sleep(2_000_000)  # the device lags behind the host
        found.append((inputs.clone(), numbers.clone()))
        inputs.zero_()
    for ours, theirs in zip(found, resident.batches([index.to(device) for index in indices]), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.gpu
def test_images_changed_while_the_gpu_is_busy_are_those_that_were_made() -> None:
    device, rows = torch.device("cuda", 0), torch.randperm(2000)
    pixels, labels = torch.randint(0, 256, (2000, 64, 64), dtype=torch.uint8), torch.arange(2000.0)

    def change(row: int, epoch: int, before: int) -> np.ndarray:
        return pixels[row].numpy() + np.uint8(epoch)

    samples = ChangingSamples(pixels.to(device), rows, labels.to(device), change).in_epoch(3)
    indices = torch.randperm(2000).split(24)
    assert torch.equal(samples.take(indices[0])[0].cpu(), pixels[rows[indices[0]]])
    found = []
    for inputs, numbers in samples.batches(indices):
        torch.cuda._sleep(2_000_000)  # the device lags behind the host
        found.append((inputs.clone(), numbers.clone()))
        inputs.zero_()
    for (inputs, numbers), index in zip(found, indices, strict=True):
        assert torch.equal(inputs.cpu(), pixels[rows[index]] + 3)
        assert torch.equal(numbers.cpu(), labels[index])


@pytest.mark.gpu
def test_weights_saved_on_a_gpu_can_be_read_without_one(tmp_path: Path, cache_dir: Path) -> None:
    typed = [*SMALL, "trainer.device=cuda"]
    config = composed(*typed, f"output_root={tmp_path}", f"cache_dir={cache_dir}")
    run_dir = run_experiment(config, defaults=defaults_of(typed))
    assert {tensor.device.type for tensor in torch.load(run_dir / "model.pt", weights_only=True).values()} == {"cpu"}


@pytest.mark.gpu
def test_a_second_gpu_records_after_the_first() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    of_first, of_second = (states(configured("model3", device=f"cuda:{k}"), is_recorded=True) for k in (0, 1))
    assert all(torch.equal(tensor.cpu(), of_second[name].cpu()) for name, tensor in of_first.items())

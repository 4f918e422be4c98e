"""Low precision: on which devices it is chosen, when it is rejected, and how training behaves in it."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import composed
from torch import nn

from dxa_tbs.config.choices import Precision
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.learner import build_learner, take_samples
from dxa_tbs.pipeline.network import build_network
from dxa_tbs.pipeline.train import new_network, prepare_step
from dxa_tbs.tasks.losses import cross_entropy
from dxa_tbs.training.batches import build_normalisation
from dxa_tbs.training.precision import choose_precision, is_channels_last, lowered, with_frozen_lowered
from dxa_tbs.training.process import set_up_process
from dxa_tbs.training.step_check import compare_steps, disagreement

CPU = torch.device("cpu")
PLAIN = build_normalisation([0.0] * 3, [1.0] * 3, CPU)


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="asks Linux what the processor has")
def test_auto_is_bf16_if_the_processor_supports_it() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    expected = Precision.bf16 if {"avx512_bf16", "amx_tile"} & set(flags) else Precision.fp32
    assert choose_precision(Precision.auto, CPU) is expected


@pytest.mark.parametrize("asked", [Precision.tf32, Precision.fp16])
def test_a_precision_that_the_processor_lacks_is_refused(asked: Precision) -> None:
    with pytest.raises(Refusal, match=f"trainer.precision={asked.value}: .* use auto"):
        choose_precision(asked, CPU)


def test_a_step_that_differs_by_more_than_rounding_is_detected() -> None:
    logits, gradient = torch.tensor([[0.3], [-0.2]]), torch.tensor([1.0, -2.0, 0.5])
    exact = (logits, [gradient, gradient.view(3, 1)])
    assert compare_steps(exact, (logits * 1.01, [gradient * 1.01, gradient.view(3, 1)])) is None
    for wrong in (
        (logits * math.nan, gradient),
        (logits, gradient * math.nan),
        (logits, gradient * 0),
        (logits, -gradient),
        (logits, gradient * 2),
        (logits + 1, gradient),
    ):
        text = compare_steps(exact, (wrong[0], [wrong[1], wrong[1].view(3, 1)]))
        assert text is not None and "gradients" in text


@pytest.mark.parametrize(
    "typed", [["model=model3"], *([f"model={name}", "approach=full"] for name in ("resnet18", "squeezenet"))]
)
def test_scores_of_a_network_in_bf16_are_not_tied(typed: list[str]) -> None:
    config = composed(
        *typed, *(["model.weights=none"] if "model=model3" not in typed else []), "trainer.precision=bf16"
    )
    network = new_network(config)
    images = torch.rand(24, 3, 224, 224, generator=torch.Generator().manual_seed(0)).round(decimals=2)
    with torch.no_grad(), lowered(CPU, Precision.bf16):
        logits = network.model.eval()(images.to(memory_format=torch.channels_last))
    assert logits.dtype == torch.float32
    assert len(logits[:, 0].unique()) >= 22 > len(logits[:, 0].bfloat16().unique())


class Cancels(nn.Sequential):
    """Correct in fp32; in bf16, which has 8 significant bits, adding a large number erases the small ones."""

    def __init__(self) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = super().forward(images)
        return nn.functional.linear(pooled + 1000, torch.ones(1, 1)) - 1000


def test_the_check_before_training_accepts_rounding_and_rejects_wrong_steps() -> None:
    network = new_network(composed("model=model3", "approach=adhoc")).model
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert disagreement(network, PLAIN, Precision.bf16, loss=cross_entropy) is None
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    torch.manual_seed(0)
    assert disagreement(Cancels(), PLAIN, Precision.fp32, loss=cross_entropy) is None
    assert disagreement(Cancels(), PLAIN, Precision.bf16, loss=cross_entropy) is not None


class DropsByType(nn.Dropout):
    """Draws different masks in 16 bits and in 32 bits from the same seed, as GPUs do."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.p == 0 or not self.training:
            return inputs
        torch.rand(1 if inputs.dtype == torch.float32 else 2)
        return inputs * (torch.rand(inputs.shape) > self.p) / (1 - self.p)


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "squeezenet"])
def test_dropout_masks_that_depend_on_the_type_do_not_count_as_a_wrong_step(name: str) -> None:
    typed = (f"model={name}", "approach=full", "model.weights=none", "trainer.precision=fp32")
    network = new_network(composed(*typed))
    for parent in list(network.model.modules()):
        for place, layer in parent.named_children():
            if isinstance(layer, nn.Dropout):
                setattr(parent, place, DropsByType(layer.p))
    assert disagreement(network.model, network.normalise, Precision.bf16, loss=cross_entropy) is None
    assert all(layer.p > 0 for layer in network.model.modules() if isinstance(layer, DropsByType))


class Faint(nn.Sequential):
    """Its gradients are about 1e-8, which is zero in fp16 unless the loss is scaled."""

    def __init__(self) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images).float() * 1e-7


def test_the_check_of_fp16_scales_the_loss_as_training_does() -> None:
    assert disagreement(Faint(), PLAIN, Precision.fp16, loss=cross_entropy) is None


@pytest.mark.parametrize("capability", [(6, 1), (7, 5)])
def test_a_gtx_computes_in_fp32_and_refuses_bf16(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    gtx = torch.device("cuda", 0)
    assert choose_precision(Precision.auto, gtx) is Precision.fp32
    assert choose_precision(Precision.fp16, gtx) is Precision.fp16
    for asked in (Precision.bf16, Precision.tf32):
        with pytest.raises(Refusal, match=f"trainer.precision={asked.value}: cuda:0 does not support it"):
            choose_precision(asked, gtx)


def test_channels_come_last_on_a_cpu_and_on_a_gpu_only_in_16_bits() -> None:
    gpu = torch.device("cuda", 0)
    expected = {Precision.fp32: False, Precision.tf32: False, Precision.bf16: True, Precision.fp16: True}
    assert {precision: is_channels_last(gpu, precision) for precision in expected} == expected
    assert is_channels_last(CPU, Precision.fp32)
    pixels = torch.randint(0, 256, (2, 5, 4), dtype=torch.uint8)
    first, last = (
        build_normalisation([0.5, 0.4, 0.3], [0.1, 0.2, 0.3], CPU, is_channels_last=last).to_input(pixels)
        for last in (False, True)
    )
    assert first.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, last)


def test_frozen_layers_kept_in_bf16_give_the_same_bits_as_autocast() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Dropout(0.4), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
    layers[1].requires_grad_(False)
    low = with_frozen_lowered(layers, Precision.bf16)
    assert low[3] is layers[3]
    assert (layers[1].weight.dtype, low[1].weight.dtype) == (torch.float32, torch.bfloat16)
    outputs = []
    for network in (layers, low):
        torch.manual_seed(1)
        with lowered(CPU, Precision.bf16):
            outputs.append(network(torch.linspace(-1, 1, 8 * 64).view(8, 64)))
    assert torch.equal(*outputs)
    assert with_frozen_lowered(layers, Precision.fp32) is layers


def settings(*typed: str):  # type: ignore[no-untyped-def]
    config = composed("trainer.device=cpu", *typed)
    return config.model, config.approach, config.trainer


def textures(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of fine or coarse noise, uint8 (N, 224, 224), and labels that are 1 for coarse."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    fine, coarse = rng.normal(128, 40, (count, 224, 224)), rng.normal(128, 40, (count, 56, 56))
    images = np.where(labels[:, None, None] == 1, np.kron(coarse, np.ones((1, 4, 4))), fine)
    return images.clip(0, 255).astype(np.uint8), labels


def losses_of_20_steps(name: str, precision: str) -> tuple[list[float], nn.Module]:
    """Train as in a run, on 20 batches of 4; return the loss of each batch, and the network."""
    config = composed(f"model={name}", "approach=adhoc", "trainer.device=cpu", f"trainer.precision={precision}")
    network = new_network(config)
    pixels, labels = textures(20)
    learner = build_learner(network, caches_features=False)
    samples = take_samples(learner, torch.from_numpy(pixels), np.arange(20), labels)
    step = prepare_step(network, learner, samples, config)
    learner.model.train()
    losses = []
    for index in torch.arange(20).split(4) * 4:
        step.loss_sum.zero_()
        step.run(*samples.take(index))
        losses.append(step.loss_sum.item() / 4)
    return losses, network.model


@pytest.mark.parametrize(
    "name", ["model3", *(pytest.param(name, marks=pytest.mark.slow) for name in ("model1", "model4"))]
)
def test_twenty_steps_agree_with_the_plain_network_in_fp32(name: str) -> None:
    config = composed(f"model={name}", "approach=adhoc", "trainer.device=cpu", "trainer.precision=fp32")
    plain = new_network(config)
    optimizer = torch.optim.SGD(plain.model.parameters(), lr=config.optimizer.lr, momentum=config.optimizer.momentum)
    pixels, labels = textures(20)
    expected = []
    plain.model.to(memory_format=torch.contiguous_format).train()  # ATen's channels-last BatchNorm is less precise
    for index in torch.arange(20).split(4) * 4:
        images = torch.from_numpy(pixels[index]) / 255
        loss = cross_entropy(plain.model(images[:, None].repeat(1, 3, 1, 1)), torch.from_numpy(labels[index]).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    losses, network = losses_of_20_steps(name, "fp32")
    assert losses == pytest.approx(expected, abs=2e-4)
    assert expected[-1] < expected[0]
    for ours, theirs in zip(network.parameters(), plain.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-4)
    low, _ = losses_of_20_steps(name, "bf16")
    assert low == pytest.approx(expected, abs=0.03)


def test_building_a_network_does_not_change_settings_of_the_process() -> None:
    config = composed("model=model3", "trainer.device=cpu", "trainer.precision=fp32")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32
    try:
        cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32 = False, True, True
        torch.manual_seed(123)
        build_network(config, device=CPU, precision=Precision.fp32)
        assert (cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32) == (False, True, True)
        assert torch.initial_seed() == 123
    finally:
        cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32 = before


def test_settings_of_the_process_are_changed_in_one_place() -> None:
    assert set_up_process("cpu", Precision.fp32, seed=7) == (CPU, Precision.fp32)
    assert torch.initial_seed() == 7
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cuda.matmul.allow_tf32

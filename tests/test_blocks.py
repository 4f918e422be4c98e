"""The fast form of the ad hoc networks gives the same outputs and gradients as the plain layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dxa_tbs.models.adhoc import build_adhoc
from dxa_tbs.training.blocks import PooledNorm, begins_with_block, channel_statistics, with_fast_blocks

FILTERS = {"model1": [8, 16, 32, 64, 128], "model3": [8, 16, 32], "model4": [8, 28, 36]}


def twins(filters: list[int], *, negative: bool = False) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """Return a network, its copy, and the copy's fast form; `negative`: BatchNorm has some negative weights."""
    torch.manual_seed(0)
    plain = build_adhoc(filters, [10]).double().to(memory_format=torch.channels_last)
    if negative:
        with torch.no_grad():
            for module in plain.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight[::3] *= -0.7
    copied = copy.deepcopy(plain)
    return plain, copied, with_fast_blocks(copied, takes_one_channel=True)


def grey(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same images as one channel and as three."""
    pixels_BHW = torch.rand(count, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one = pixels_BHW.unsqueeze(-1).permute(0, 3, 1, 2)
    return one, one.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("negative", [False, True])
def test_outputs_gradients_and_statistics_are_those_of_the_plain_layers(name: str, negative: bool) -> None:
    plain, copied, fast = twins(FILTERS[name], negative=negative)
    one, three = grey(5)
    weights = torch.linspace(-1, 1, 5, dtype=torch.float64).view(-1, 1)
    outputs = plain(three), fast(one)
    assert torch.allclose(*outputs, atol=1e-12)
    for output in outputs:
        (output * weights).sum().backward()
    for (key, ours), theirs in zip(copied.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-7, atol=1e-10), key
    for (key, ours), theirs in zip(copied.named_buffers(), plain.buffers(), strict=True):
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-9), key
    for network in (plain, fast):
        network.eval()
    assert torch.allclose(plain(three), fast(one), atol=1e-12)


def test_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(3)
    maps = torch.randn(2, 3, 6, 5, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.tensor([1.2, -0.4, 0.8], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([0.1, 0.3, -0.2], dtype=torch.float64, requires_grad=True)

    def block(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        mean, var = channel_statistics(maps.detach())
        return PooledNorm.apply(maps, weight, bias, mean, var, 1e-5)

    assert torch.autograd.gradcheck(block, (maps, weight, bias), atol=1e-6)


def test_of_equal_pixels_the_first_gets_the_gradient_as_in_torch() -> None:
    maps = torch.tensor([[[[2.0, 2.0, 0.0, 1.0], [2.0, 1.0, 1.0, 1.0]]]]).to(memory_format=torch.channels_last)
    ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    weight, bias = torch.ones(1), torch.ones(1)
    PooledNorm.apply(ours, weight, bias, *channel_statistics(maps), 1e-5)[..., 0].sum().backward()
    normal = nn.functional.batch_norm(theirs, None, None, weight, bias, training=True)
    nn.functional.max_pool2d(normal.relu(), 2)[..., 0].sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 7, 5), (3, 28, 13, 11), (19, 16, 9, 9), (2, 36, 5, 4)])
def test_statistics_cover_all_pixels_of_any_shape(shape: tuple[int, ...]) -> None:
    maps = (5 + torch.randn(shape)).to(memory_format=torch.channels_last)
    mean, var = channel_statistics(maps)
    assert torch.allclose(mean, maps.mean((0, 2, 3)), rtol=1e-5)
    assert torch.allclose(var, maps.var((0, 2, 3), unbiased=False), rtol=1e-4)
    low_mean, low_var = channel_statistics(maps.bfloat16())
    assert low_mean.dtype == low_var.dtype == torch.float32
    assert torch.allclose(low_mean, mean, rtol=1e-3)


def test_the_fast_form_shares_parameters_and_buffers_with_the_network() -> None:
    _, copied, fast = twins(FILTERS["model3"])
    for ours, theirs in zip(fast.parameters(), copied.parameters(), strict=True):
        assert ours is theirs
    for ours, theirs in zip(fast.buffers(), copied.buffers(), strict=True):
        assert ours is theirs


@pytest.mark.parametrize(
    "changed",
    [
        {"conv": {"stride": 2}},
        {"conv": {"padding": 1}},
        {"conv": {"dilation": 2}},
        {"norm": {"affine": False}},
        {"norm": {"momentum": None}},
        {"pool": {"stride": 1}},
        {"pool": {"padding": 1}},
        {"pool": {"ceil_mode": True}},
    ],
    ids=str,
)
def test_layers_that_compute_something_else_stay_as_they_are(changed: dict[str, dict[str, object]]) -> None:
    torch.manual_seed(0)
    settings = {"conv": {}, "norm": {}, "pool": {}} | changed
    conv, norm = nn.Conv2d(3, 4, 3, **settings["conv"]), nn.BatchNorm2d(4, **settings["norm"])  # type: ignore[arg-type]
    model = nn.Sequential(conv, norm, nn.ReLU(), nn.MaxPool2d(2, **settings["pool"]))  # type: ignore[arg-type]
    assert not begins_with_block(model)
    images = torch.rand(2, 3, 33, 33)
    assert torch.equal(with_fast_blocks(model, takes_one_channel=False).eval()(images), model.eval()(images))

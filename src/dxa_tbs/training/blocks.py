"""The ad hoc networks on a CPU: convolution, BatchNorm, ReLU and pooling in an order that costs a fraction.

The function and its gradients are those of the plain layers, but for rounding.

- Grey as one channel: where the three channels of an image are equal, one of them, convolved with the filters summed
  over their channels, gives the same; each filter still gets its own gradient.
- Pooling first: BatchNorm and ReLU are monotone, so the largest of four outputs comes from the largest of four inputs
  (the smallest, where BatchNorm's weight is negative). The statistics are still those of all inputs, but a quarter of
  them is normalised.
- Wide views: ATen's BatchNorm is ten times slower on 8 or 28 channels than memory allows, not so on multiples of 16.
  In channels-last memory the channels of neighbouring pixels are side by side: k pixels are read as one of k times as
  many channels, whose sums are then added up.

Shapes: B images, C channels, H x W pixels; K = k x C.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import torch
from torch import nn

VECTOR_CHANNELS = 16  # multiples of it need no wide view
WIDE_CHANNELS = 512  # and a view of so many is wide enough


def with_fast_blocks(model: nn.Sequential, *, takes_one_channel: bool) -> nn.Sequential:
    """Return a network that computes the same with the same parameters and buffers: not copies of them.

    Args:
        model: layers in a row; a convolution, BatchNorm, ReLU and 2 x 2 max pooling in this order become one block.
        takes_one_channel: of an image, rather than all of its channels, which are then equal.
    """
    layers: list[tuple[str, nn.Module]] = list(model.named_children())
    fast: OrderedDict[str, nn.Module] = OrderedDict()
    while layers:
        name, layer = layers[0]
        kinds = tuple(type(layer) for _, layer in layers[:4])
        is_block = kinds == (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d)
        if is_block:
            layer = Block(layer, cast(nn.BatchNorm2d, layers[1][1]), repeats_input=takes_one_channel and not fast)
        fast[name] = layer
        del layers[: 4 if is_block else 1]
    return nn.Sequential(fast)


class Block(nn.Module):
    """Convolution, BatchNorm, 2 x 2 max pooling and ReLU, from (B, C', H', W') to (B, C, H // 2, W // 2)."""

    def __init__(self, conv: nn.Module, norm: nn.BatchNorm2d, *, repeats_input: bool) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d) and conv.padding == (0, 0)
        self.conv, self.norm, self.repeats_input = conv, norm, repeats_input

    def forward(self, inputs_BCHW: torch.Tensor) -> torch.Tensor:
        weight = self.conv.weight.sum(1, keepdim=True) if self.repeats_input else self.conv.weight
        maps_BCHW = nn.functional.conv2d(inputs_BCHW, weight, self.conv.bias).contiguous(
            memory_format=torch.channels_last
        )
        norm = self.norm
        mean_C, var_C = _moved_statistics(norm, maps_BCHW) if norm.training else (norm.running_mean, norm.running_var)
        return cast(torch.Tensor, PooledNorm.apply(maps_BCHW, norm.weight, norm.bias, mean_C, var_C, norm.eps))


@torch.no_grad()
def _moved_statistics(norm: nn.BatchNorm2d, maps_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and biased variance of a batch, and let the running ones follow, as BatchNorm does."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    mean_C, var_C = channel_statistics(maps_BCHW)
    count = maps_BCHW.numel() // len(mean_C)
    norm.running_mean.lerp_(mean_C, norm.momentum)
    norm.running_var.lerp_(var_C * (count / (count - 1)), norm.momentum)
    cast(torch.Tensor, norm.num_batches_tracked).add_(1)
    return mean_C, var_C


class PooledNorm(torch.autograd.Function):
    """relu(max_pool(batch_norm(maps))), pooled first, with the gradient that flows through the statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        maps_BCHW: torch.Tensor,
        weight_C: torch.Tensor,
        bias_C: torch.Tensor,
        mean_C: torch.Tensor,
        var_C: torch.Tensor,
        eps: float,
    ) -> torch.Tensor:
        sign_C = torch.where(weight_C < 0, -1.0, 1.0).to(maps_BCHW.dtype).view(-1, 1, 1)
        falls = bool((weight_C < 0).any())
        pooled, places = nn.functional.max_pool2d(maps_BCHW * sign_C if falls else maps_BCHW, 2, return_indices=True)
        pooled = pooled * sign_C if falls else pooled
        out = _normalise(pooled, weight_C, bias_C, mean_C, var_C, eps).relu_()
        ctx.save_for_backward(maps_BCHW, pooled, places, out, weight_C, mean_C, var_C)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        maps_BCHW, pooled, places, out, weight_C, mean_C, var_C = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad_out.contiguous(memory_format=torch.channels_last), out, 0)
        grad_pooled, grad_weight_C, grad_bias_C = _normalise_backward(grad, pooled, weight_C, mean_C, var_C, ctx.eps)
        grad_maps = torch.ops.aten.max_pool2d_with_indices_backward(
            grad_pooled, maps_BCHW, [2, 2], [2, 2], [0, 0], [1, 1], False, places
        )
        count = maps_BCHW.numel() // len(mean_C)
        scale_C = -weight_C * (var_C + ctx.eps).rsqrt() / count
        grad_maps += _normalise(maps_BCHW, scale_C * grad_weight_C, scale_C * grad_bias_C, mean_C, var_C, ctx.eps)
        return grad_maps, grad_weight_C, grad_bias_C, None, None, None


def channel_statistics(maps_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and biased variance of each channel, float32 (C,)."""
    wide, k = _widened(maps_BCHW)
    unused = torch.empty(wide.shape[1], dtype=torch.promote_types(maps_BCHW.dtype, torch.float32))  # sets the type
    mean_kC, var_kC = (part.view(k, -1) for part in torch.batch_norm_update_stats(wide, unused, unused, 0.0))
    mean_C = mean_kC.mean(0)
    return mean_C, var_kC.mean(0) + (mean_kC - mean_C).square_().mean(0)


def _normalise(
    maps_BCHW: torch.Tensor,
    weight_C: torch.Tensor,
    bias_C: torch.Tensor,
    mean_C: torch.Tensor,
    var_C: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    wide, k = _widened(maps_BCHW)
    weight_K, bias_K, mean_K, var_K = (part.repeat(k) for part in (weight_C, bias_C, mean_C, var_C))
    made = torch.native_batch_norm(wide, weight_K, bias_K, mean_K, var_K, False, 0.0, eps)[0]
    return _narrowed(made, maps_BCHW)


def _normalise_backward(
    grad: torch.Tensor,
    maps_BCHW: torch.Tensor,
    weight_C: torch.Tensor,
    mean_C: torch.Tensor,
    var_C: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients with respect to maps, weight and bias, statistics held fixed."""
    (wide_grad, k), (wide, _) = _widened(grad), _widened(maps_BCHW)
    weight_K, mean_K, var_K = (part.repeat(k) for part in (weight_C, mean_C, var_C))
    made, *sums_K = torch.ops.aten.native_batch_norm_backward(
        wide_grad, wide, weight_K, mean_K, var_K, None, None, False, eps, [True, True, True]
    )
    grad_weight_C, grad_bias_C = (part.view(k, -1).sum(0) for part in sums_K)
    return _narrowed(made, maps_BCHW), grad_weight_C, grad_bias_C


def _widened(maps_BCHW: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return channels-last maps as (1, k x C, pixels / k, 1), and k, which divides the number of pixels."""
    batch, channels, height, width = maps_BCHW.shape
    pixels = batch * height * width
    most = 1 if channels % VECTOR_CHANNELS == 0 else WIDE_CHANNELS // channels
    k = max(k for k in range(1, most + 1) if pixels % k == 0)
    flat = maps_BCHW.permute(0, 2, 3, 1).reshape(1, pixels // k, 1, k * channels)
    return flat.permute(0, 3, 1, 2), k


def _narrowed(wide: torch.Tensor, like_BCHW: torch.Tensor) -> torch.Tensor:
    batch, channels, height, width = like_BCHW.shape
    return wide.permute(0, 2, 3, 1).reshape(batch, height, width, channels).permute(0, 3, 1, 2)

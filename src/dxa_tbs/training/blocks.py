"""Faster convolution blocks for training the ad hoc networks on a CPU.

A block computes convolution, BatchNorm, ReLU and 2 x 2 max pooling. Outputs and gradients are those of the plain
layers up to rounding; three changes make it fast:

- One grey channel. The three channels of a grey image are equal, so one channel, convolved with the filters summed
  over their input channels, gives the same maps for a third of the work. Autograd passes the gradient of the sum on to
  all three channels of a filter, which is right because their inputs are equal.
- Pooling before BatchNorm. BatchNorm followed by ReLU is monotone in each channel, so the largest of four outputs
  belongs to the largest of four inputs (to the smallest if BatchNorm's weight is negative). The statistics still cover
  all inputs, but only a quarter of the values is normalised.
- Wide views. On 8 or 28 channels ATen's BatchNorm is ten times slower than memory allows; on multiples of 16 it is
  not. In channels-last memory the channels of neighbouring pixels are adjacent, so k pixels of C channels can be read
  as one pixel of k x C channels. Sums over the k copies of a channel are added up afterwards.

Shapes: B images, C channels, H x W pixels; K = k x C.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

VECTOR_CHANNELS = 16  # multiples of this need no wide view
MAX_WIDE_CHANNELS = 512  # views of this width are fast enough


def with_fast_blocks(model: nn.Sequential, *, takes_one_channel: bool) -> nn.Sequential:
    """Return a faster network that shares the parameters and buffers of `model`.

    Args:
        model: a chain of layers; each run of convolution without padding or stride, BatchNorm, ReLU and 2 x 2 max
            pooling becomes one block.
        takes_one_channel: inputs are (B, 1, H, W), one of the equal channels of a grey image; else all channels.
    """
    layers: list[tuple[str, nn.Module]] = list(model._modules.items())  # named_children() gives each module once
    fast: OrderedDict[str, nn.Module] = OrderedDict()
    while layers:
        name, layer = layers[0]
        is_block = _is_block([layer for _, layer in layers[:4]])
        if is_block:
            layer = Block(layer, cast(nn.BatchNorm2d, layers[1][1]), takes_one_channel=takes_one_channel and not fast)
        fast[name] = layer
        del layers[: 4 if is_block else 1]
    return nn.Sequential(fast)


def begins_with_block(model: nn.Module) -> bool:
    """Return whether `with_fast_blocks` makes a block of the first layers, which then takes one channel if told so."""
    return isinstance(model, nn.Sequential) and _is_block([*model][:4])


def _is_block(layers: Sequence[nn.Module]) -> bool:
    """Return whether these layers compute what a `Block` computes."""
    if tuple(map(type, layers)) != (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d):
        return False
    conv, norm, pool = cast(tuple[nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d], (layers[0], layers[1], layers[3]))
    is_plain = (conv.stride, conv.padding, conv.dilation, conv.groups) == ((1, 1), (0, 0), (1, 1), 1)
    is_pool = (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1) and not pool.ceil_mode
    has_all = norm.affine and norm.track_running_stats and norm.momentum is not None
    trains = norm.affine and norm.weight.requires_grad  # else it is in eval mode, where a Block has other gradients
    is_hooked = any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)  # such as spectral_norm
    return is_plain and is_pool and has_all and trains and not (is_hooked or pool.return_indices)


class Block(nn.Module):
    """Convolution, BatchNorm, 2 x 2 max pooling and ReLU, from (B, C', H', W') to (B, C, H // 2, W // 2).

    In eval mode the outputs are right but the gradients are not: `PooledNorm` takes the statistics to be the batch's.
    """

    def __init__(self, conv: nn.Module, norm: nn.BatchNorm2d, *, takes_one_channel: bool) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        self.conv, self.norm, self.takes_one_channel = conv, norm, takes_one_channel

    def forward(self, inputs_BCHW: torch.Tensor) -> torch.Tensor:
        # for equal channels x: sum_c (w_c * x) = (sum_c w_c) * x
        weight = self.conv.weight.sum(1, keepdim=True) if self.takes_one_channel else self.conv.weight
        maps_BCHW = nn.functional.conv2d(inputs_BCHW, weight, self.conv.bias).contiguous(
            memory_format=torch.channels_last  # as _widen needs it
        )
        norm = self.norm
        mean_C, var_C = _track_statistics(norm, maps_BCHW) if norm.training else (norm.running_mean, norm.running_var)
        return cast(torch.Tensor, PooledNorm.apply(maps_BCHW, norm.weight, norm.bias, mean_C, var_C, norm.eps))


@torch.no_grad()  # PooledNorm.backward adds the gradient through the statistics itself
def _track_statistics(norm: nn.BatchNorm2d, maps_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and biased variance of a batch, and update the running statistics as BatchNorm does."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    mean_C, var_C = channel_statistics(maps_BCHW)
    count = maps_BCHW.numel() // len(mean_C)
    norm.running_mean.lerp_(mean_C, norm.momentum)
    norm.running_var.lerp_(var_C * (count / (count - 1)), norm.momentum)  # BatchNorm tracks the unbiased variance
    cast(torch.Tensor, norm.num_batches_tracked).add_(1)
    return mean_C, var_C


class PooledNorm(torch.autograd.Function):
    """Computes relu(max_pool(batch_norm(maps))), pooling first; mean and variance must be those of the maps.

    Gradients. In a channel with n values x, let z = (x - mean) / s with s = sqrt(var + eps), and y = weight z + bias.
    With G = dL/dy, which is zero except at pooled, positive values:

        dL/dbias = sum(G),  dL/dweight = sum(G z),  dL/dx = weight / s (G - sum(G) / n - z sum(G z) / n)

    The first term of dL/dx is BatchNorm's gradient at fixed statistics. It is zero outside the pooled quarter, so it is
    computed there and scattered by the pooling's own backward. The other two terms come from the statistics and reach
    every value: -weight / (s n) (dL/dweight z + dL/dbias), which is BatchNorm of x with another weight and bias. One
    call of the forward kernel therefore adds both.
    """

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
        # a negative weight turns the order round: the smallest input is the largest of the negated ones
        sign_C = torch.where(weight_C < 0, -1.0, 1.0).to(maps_BCHW.dtype).view(-1, 1, 1)
        has_negative = bool((weight_C < 0).any())  # rare; otherwise two passes over the maps are saved
        pooled, indices = nn.functional.max_pool2d(
            maps_BCHW * sign_C if has_negative else maps_BCHW, 2, return_indices=True
        )
        pooled = pooled * sign_C if has_negative else pooled
        out = _normalise(pooled, weight_C, bias_C, mean_C, var_C, eps).relu_()
        ctx.save_for_backward(maps_BCHW, pooled, indices, out, weight_C, mean_C, var_C)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        maps_BCHW, pooled, indices, out, weight_C, mean_C, var_C = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad_out.contiguous(memory_format=torch.channels_last), out, 0)  # ReLU
        grad_pooled, grad_weight_C, grad_bias_C = _normalise_backward(grad, pooled, weight_C, mean_C, var_C, ctx.eps)
        # only shape and memory format of the maps are read here, so their signs do not matter
        grad_maps = torch.ops.aten.max_pool2d_with_indices_backward(
            grad_pooled, maps_BCHW, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
        )
        count = maps_BCHW.numel() // len(mean_C)
        scale_C = -weight_C * (var_C + ctx.eps).rsqrt() / count
        grad_maps += _normalise(maps_BCHW, scale_C * grad_weight_C, scale_C * grad_bias_C, mean_C, var_C, ctx.eps)
        return grad_maps, grad_weight_C, grad_bias_C, None, None, None


def channel_statistics(maps_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and biased variance of each channel, (C,); float32 where the maps are of 16 bits."""
    wide, k = _widen(maps_BCHW)
    # the kernel insists on running statistics: momentum 0 leaves them unused, but their type is that of the results
    unused = torch.empty(wide.shape[1], dtype=torch.promote_types(maps_BCHW.dtype, torch.float32))
    mean_kC, var_kC = (values.view(k, -1) for values in torch.batch_norm_update_stats(wide, unused, unused, 0.0))
    mean_C = mean_kC.mean(0)
    # total variance of k groups of equal size: mean of their variances plus variance of their means
    return mean_C, var_kC.mean(0) + (mean_kC - mean_C).square_().mean(0)


def _normalise(
    maps_BCHW: torch.Tensor,
    weight_C: torch.Tensor,
    bias_C: torch.Tensor,
    mean_C: torch.Tensor,
    var_C: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    """Return weight (maps - mean) / sqrt(var + eps) + bias."""
    wide, k = _widen(maps_BCHW)
    weight_K, bias_K, mean_K, var_K = (values.repeat(k) for values in (weight_C, bias_C, mean_C, var_C))
    normalised = torch.native_batch_norm(wide, weight_K, bias_K, mean_K, var_K, False, 0.0, eps)[0]
    return _narrow(normalised, maps_BCHW)


def _normalise_backward(
    grad: torch.Tensor,
    maps_BCHW: torch.Tensor,
    weight_C: torch.Tensor,
    mean_C: torch.Tensor,
    var_C: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients with respect to maps, weight and bias at fixed statistics."""
    (wide_grad, k), (wide, _) = _widen(grad), _widen(maps_BCHW)
    weight_K, mean_K, var_K = (values.repeat(k) for values in (weight_C, mean_C, var_C))
    grad_wide, *sums_K = torch.ops.aten.native_batch_norm_backward(
        wide_grad, wide, weight_K, mean_K, var_K, None, None, False, eps, [True, True, True]
    )
    grad_weight_C, grad_bias_C = (values.view(k, -1).sum(0) for values in sums_K)
    return _narrow(grad_wide, maps_BCHW), grad_weight_C, grad_bias_C


def _widen(maps_BCHW: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return channels-last maps as a view (1, k x C, pixels / k, 1), and k, a divisor of the number of pixels."""
    batch, channels, height, width = maps_BCHW.shape
    pixels = batch * height * width
    max_k = 1 if channels % VECTOR_CHANNELS == 0 else MAX_WIDE_CHANNELS // channels
    k = max(k for k in range(1, max_k + 1) if pixels % k == 0)
    flat = maps_BCHW.permute(0, 2, 3, 1).reshape(1, pixels // k, 1, k * channels)  # no copy: the order in memory
    return flat.permute(0, 3, 1, 2), k


def _narrow(wide: torch.Tensor, like_BCHW: torch.Tensor) -> torch.Tensor:
    """Return a wide view as maps of the shape of `like_BCHW` again."""
    batch, channels, height, width = like_BCHW.shape
    return wide.permute(0, 2, 3, 1).reshape(batch, height, width, channels).permute(0, 3, 1, 2)

"""Channels that show the texture around each pixel, computed from the grey levels on the device of the network."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

LAGS_PX = (1, 2, 3)  # as in data.variogram
ROUNDING_VARIANCE = 1 / 6  # of the difference of two grey levels rounded to whole numbers: 1/12 of each
MAX_SD = 127.5  # of values from 0 to 255
MAX_SLOPE = 2.0  # of the variogram of a smooth surface


def texture_channels(grey_BHW: torch.Tensor, *, window_px: int) -> torch.Tensor:
    """Return the grey level, its local standard deviation and the local slope of the variogram, float32 (B, 3, H, W).

    The standard deviation is scaled from 0 to 127.5, and the slope from 0 to 2, to the range of grey levels, 0 to 255.
    The slope is that of log V(k) on log k for lags k of 1 to 3 pixels (Pothuaud, Carceller, Hans, Bone 42:775-787,
    2008), where V(k) is the mean squared difference of pairs along both axes whose upper or left pixel is in the
    window. The variance of rounding is added to V(k), so that the slope of a constant area is 0. At the edges of an
    image, windows are smaller.

    Args:
        grey_BHW: from 0 to 255.
        window_px: side of the square window around each pixel; odd.
    """
    grey = grey_BHW.float().unsqueeze(1)
    mean = _local_mean(grey, window_px)
    sd = (_local_mean(grey.square(), window_px) - mean.square()).clamp(min=0).sqrt()
    slope = _local_slope(grey, window_px).clamp(0, MAX_SLOPE)
    return torch.cat([grey, sd * (255 / MAX_SD), slope * (255 / MAX_SLOPE)], dim=1)


def _local_slope(grey_B1HW: torch.Tensor, window_px: int) -> torch.Tensor:
    """Return the least-squares slope of log V(k) on log k around each pixel, (B, 1, H, W)."""
    logs = [math.log(lag) for lag in LAGS_PX]
    mean_log = sum(logs) / len(logs)
    of_logs = sum((log - mean_log) ** 2 for log in logs)
    slope = torch.zeros_like(grey_B1HW)
    for lag, log in zip(LAGS_PX, logs, strict=True):
        slope += (_local_variogram(grey_B1HW, lag, window_px) + ROUNDING_VARIANCE).log() * ((log - mean_log) / of_logs)
    return slope


def _local_variogram(grey_B1HW: torch.Tensor, lag_px: int, window_px: int) -> torch.Tensor:
    """Return the mean squared difference of the pairs of pixels around each pixel, (B, 1, H, W)."""
    down = functional.pad((grey_B1HW[:, :, lag_px:] - grey_B1HW[:, :, :-lag_px]).square(), (0, 0, 0, lag_px))
    across = functional.pad((grey_B1HW[..., lag_px:] - grey_B1HW[..., :-lag_px]).square(), (0, lag_px))
    pairs = torch.full_like(grey_B1HW[:1], 2.0)
    pairs[:, :, -lag_px:] -= 1
    pairs[..., -lag_px:] -= 1
    return _local_mean(down + across, window_px) / _local_mean(pairs, window_px)


def _local_mean(values_B1HW: torch.Tensor, window_px: int) -> torch.Tensor:
    """Return the mean over a square window around each pixel, or over its part inside the image."""
    half = window_px // 2
    rows = functional.avg_pool2d(values_B1HW, (window_px, 1), 1, (half, 0), count_include_pad=False)
    return functional.avg_pool2d(rows, (1, window_px), 1, (0, half), count_include_pad=False)

"""The slope of the experimental variogram: the published idea behind TBS, and never to be called TBS.

The product's algorithm (lag range, weights, corrections) is not public, so no number from here equals a TBS.
"""

from __future__ import annotations

import numpy as np


def variogram(image: np.ndarray, mask: np.ndarray, max_lag_px: int) -> np.ndarray:
    """Return V(1..max_lag_px), shape (max_lag_px,): the mean squared grey-level difference over both axes.

    Only pairs with both ends inside `mask` (bool, shape of the image) count.

    Source: Pothuaud, Carceller, Hans, Bone 42:775-787 (2008).
    """
    image = image.astype(np.float32)
    values = []
    for lag in range(1, max_lag_px + 1):
        down = (image[lag:] - image[:-lag])[mask[lag:] & mask[:-lag]]
        across = (image[:, lag:] - image[:, :-lag])[mask[:, lag:] & mask[:, :-lag]]
        values.append(np.mean(np.concatenate([down, across]) ** 2))
    return np.array(values)


def variogram_slope(image: np.ndarray, regions: np.ndarray, max_lag_px: int = 3) -> float:
    """Return the slope of log V(k) on log k up to the lag, mean over the regions (a map of 1, 2, ...; 0: none)."""
    log_lags = np.log(np.arange(1, max_lag_px + 1))
    slopes = [
        np.polyfit(log_lags, np.log(variogram(image, regions == number, max_lag_px)), 1)[0]
        for number in np.unique(regions[regions > 0])
    ]
    return float(np.mean(slopes))

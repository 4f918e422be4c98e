"""The slope of the experimental variogram: the published idea behind TBS, but not TBS.

The algorithm of the commercial product (lag range, weights, corrections) is not public, so never call these values TBS.
"""

from __future__ import annotations

import numpy as np


def variogram(image: np.ndarray, mask: np.ndarray, max_lag_px: int) -> np.ndarray:
    """Return V(1), ..., V(max_lag_px), shape (max_lag_px,): mean squared grey-level differences along both axes.

    Only pairs with both pixels inside `mask` (bool, shape of the image) count.

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
    """Return the slope of log V(k) on log k for k up to `max_lag_px`, mean over regions.

    Args:
        image: shape (H, W).
        regions: shape (H, W), the number of the region of each pixel from 1, or 0 for no region.
    """
    log_lags = np.log(np.arange(1, max_lag_px + 1))
    slopes = [
        np.polyfit(log_lags, np.log(variogram(image, regions == number, max_lag_px)), 1)[0]
        for number in np.unique(regions[regions > 0])
    ]
    return float(np.mean(slopes))

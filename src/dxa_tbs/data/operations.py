"""The operations of an augmentation: each changes one image, uint8 (H, W), at random.

An operation draws every random number from the generator `rng` that it is given, so that the same seed, epoch and image
give the same result. What lies beyond the edge of an image is its mirror image.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from dxa_tbs.config.choices import Interpolation

RESAMPLING = {
    Interpolation.bilinear.value: Image.Resampling.BILINEAR,
    Interpolation.bicubic.value: Image.Resampling.BICUBIC,
}


def flip(image: np.ndarray, rng: np.random.Generator, *, probability: float) -> np.ndarray:
    """Mirror the image left to right."""
    return image[:, ::-1] if rng.random() < probability else image


def rotate(image: np.ndarray, rng: np.random.Generator, *, max_deg: float, interpolation: str) -> np.ndarray:
    """Turn the image about its centre by an angle that is uniform between minus and plus `max_deg`."""
    angle_deg = rng.uniform(-max_deg, max_deg)
    angle = np.deg2rad(abs(angle_deg))
    margin = int(np.ceil(max(image.shape) / 2 * (np.cos(angle) + np.sin(angle) - 1))) + 2
    padded = Image.fromarray(np.pad(image, margin, mode="reflect"))
    turned = np.asarray(padded.rotate(angle_deg, resample=RESAMPLING[interpolation]))
    return turned[margin:-margin, margin:-margin]


def shift(image: np.ndarray, rng: np.random.Generator, *, max_px: int) -> np.ndarray:
    """Move the image by whole pixels, at most `max_px` along each axis, without interpolation."""
    down, right = rng.integers(-max_px, max_px, size=2, endpoint=True)
    padded = np.pad(image, max_px, mode="reflect")
    height, width = image.shape
    return padded[max_px - down : max_px - down + height, max_px - right : max_px - right + width]


def zoom(image: np.ndarray, rng: np.random.Generator, *, max_change: float, interpolation: str) -> np.ndarray:
    """Enlarge or shrink the image about its centre by a factor between 1 - `max_change` and 1 + `max_change`."""
    factor = 1 + rng.uniform(-max_change, max_change)
    height, width = image.shape
    margin = max(0, int(np.ceil(max(image.shape) / 2 * (1 / factor - 1)))) + 2
    x, y = margin + width / 2, margin + height / 2
    half_width, half_height = width / 2 / factor, height / 2 / factor
    padded = Image.fromarray(np.pad(image, margin, mode="reflect"))
    box = (x - half_width, y - half_height, x + half_width, y + half_height)
    return np.asarray(padded.resize((width, height), resample=RESAMPLING[interpolation], box=box))


def brightness(image: np.ndarray, rng: np.random.Generator, *, min_change: float, max_change: float) -> np.ndarray:
    """Multiply by 1 plus or minus a number between `min_change` and `max_change`; grey levels above 255 become 255."""
    factor = 1 + rng.choice([-1, 1]) * rng.uniform(min_change, max_change)
    return _to_bytes(image * np.float32(factor))


def contrast(image: np.ndarray, rng: np.random.Generator, *, max_change: float) -> np.ndarray:
    """Multiply differences from the mean grey level by a factor between 1 - `max_change` and 1 + `max_change`."""
    factor = 1 + rng.uniform(-max_change, max_change)
    mean = image.mean(dtype=np.float32)
    return _to_bytes(mean + (image - mean) * np.float32(factor))


def noise(image: np.ndarray, rng: np.random.Generator, *, max_sd: float) -> np.ndarray:
    """Add normal noise, independent in each pixel, of a standard deviation between 0 and `max_sd` grey levels."""
    sd = rng.uniform(0, max_sd)
    return _to_bytes(image + sd * rng.standard_normal(image.shape, np.float32))


def blur(image: np.ndarray, rng: np.random.Generator, *, max_sigma_px: float) -> np.ndarray:
    """Convolve with a Gaussian of a standard deviation between 0 and `max_sigma_px` pixels."""
    sigma_px = rng.uniform(0, max_sigma_px)
    return _to_bytes(ndimage.gaussian_filter(image.astype(np.float32), sigma_px, mode="mirror"))


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)

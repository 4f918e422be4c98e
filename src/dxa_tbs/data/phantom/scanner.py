"""Simulates the scanner: soft tissue, blur, quantum noise, 8-bit display."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dxa_tbs.data.phantom.anatomy import X_MM, Y_MM, ellipse, soft_step
from dxa_tbs.data.phantom.population import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, SPACING_MM

NATIVE_ROW_MM = 1.05  # sampling along the scan before the exporter squares the pixels; device data sheet
PSF_SIGMA_PX = (0.75, 0.60)  # along and across the scan; fitted to variograms of real frames
NOISE_SD_G_CM2 = 0.026  # on the native grid behind 20 cm of tissue; fitted in the same way
ATTENUATION_PER_CM = 0.24  # noise grows as exp(mu t / 2); gives -0.16 in slope for +6 cm (Messina 2018: -0.18)
GAS_PROBABILITY = 0.35  # of bowel gas beside the spine; set


def scan(density: np.ndarray, *, thickness_cm: float, psf_gain: float, rng: np.random.Generator) -> np.ndarray:
    """Return the detected density, float32, for a density map of the same shape; both in g/cm2."""
    blurred = ndimage.gaussian_filter(
        density + _soft_tissue(thickness_cm, rng), [sigma * psf_gain for sigma in PSF_SIGMA_PX]
    )
    relative_noise = np.sqrt(np.clip(0.75 + 0.35 * blurred, 0.5, 2.0))  # denser parts let fewer photons through
    return np.asarray(blurred + _quantum_noise(thickness_cm, rng) * relative_noise, np.float32)


def display(detected: np.ndarray, *, gain: float, offset: float) -> np.ndarray:
    """Return the exported frame, uint8 with bright bone, with grey levels scaled between its own percentiles."""
    low, high = np.percentile(detected, (1.0, 99.6))
    grey = 0.10 + offset + 0.90 * gain * (detected - low) / (high - low)
    return np.asarray(np.clip(np.rint(255 * grey), 0, 255), np.uint8)


def _soft_tissue(thickness_cm: float, rng: np.random.Generator) -> np.ndarray:
    """Return uneven fat and muscle (SD 0.03 g/cm2), more in thicker patients, and bowel gas in some."""
    coarse = ndimage.gaussian_filter(rng.standard_normal((FRAME_HEIGHT_PX // 4, FRAME_WIDTH_PX // 4)), 4.0)
    uneven = ndimage.zoom((coarse / coarse.std()).astype(np.float32), 4, order=1)
    tissue = 0.030 * uneven + np.float32(0.24 + 0.004 * (thickness_cm - 20.0))
    if rng.random() < GAS_PROBABILITY:
        for _ in range(rng.integers(1, 4)):
            tissue += rng.choice([-1, -1, 1]) * 0.05 * _gas_bubble(rng)
    return np.asarray(tissue, np.float32)


def _gas_bubble(rng: np.random.Generator) -> np.ndarray:
    x = FRAME_WIDTH_PX * SPACING_MM / 2 + rng.choice([-1, 1]) * rng.uniform(38, 80)
    y = rng.uniform(20, FRAME_HEIGHT_PX * SPACING_MM - 20)
    radii = (rng.uniform(6, 16), rng.uniform(4, 9))
    return soft_step(1 - ellipse(X_MM, Y_MM, centre=(x, y), radii=radii), 0.3)


def _quantum_noise(thickness_cm: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise drawn on the native grid; interpolating its rows to square pixels makes it streaky."""
    native_rows = round(FRAME_HEIGHT_PX * SPACING_MM / NATIVE_ROW_MM)
    noise = rng.standard_normal((native_rows, FRAME_WIDTH_PX), dtype=np.float32)
    noise *= np.float32(NOISE_SD_G_CM2 * np.exp(ATTENUATION_PER_CM * (thickness_cm - 20.0) / 2))
    position = np.linspace(0, native_rows - 1, FRAME_HEIGHT_PX)
    above = position.astype(int)
    below = np.minimum(above + 1, native_rows - 1)
    fraction = (position - above)[:, None].astype(np.float32)
    return np.asarray(ndimage.gaussian_filter1d(noise[above] * (1 - fraction) + noise[below] * fraction, 0.45, axis=1))

"""What the scanner makes of a density map: soft tissue, blur, quantum noise, 8-bit display."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dxa_tbs.data.phantom.anatomy import X_MM, Y_MM, ellipse, soft_step
from dxa_tbs.data.phantom.population import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, SPACING_MM

NATIVE_ROW_MM = 1.05  # sampling along the scan before the exporter squares the pixels; device data sheet
PSF_SIGMA_PX = (0.75, 0.60)  # along, across the scan; set by the variograms of real frames
NOISE_SD_G_CM2 = 0.026  # on the native grid behind 20 cm of tissue; set likewise
ATTENUATION_PER_CM = 0.24  # noise grows as exp(mu t / 2); gives -0.16 in slope for +6 cm (Messina 2018: -0.18)
GAS_PROBABILITY = 0.35  # frames with bowel gas beside the column; set


def scan(density: np.ndarray, *, thickness_cm: float, psf_gain: float, rng: np.random.Generator) -> np.ndarray:
    """Return what the detector sees of a density map in g/cm2, float32 of the same shape and unit."""
    seen = density + _soft_tissue(thickness_cm, rng)
    seen = ndimage.gaussian_filter(seen, [sigma * psf_gain for sigma in PSF_SIGMA_PX])
    relative_dose = np.sqrt(np.clip(0.75 + 0.35 * seen, 0.5, 2.0))  # more absorption, fewer photons, more noise
    return np.asarray(seen + _quantum_noise(thickness_cm, rng) * relative_dose, np.float32)


def display(seen: np.ndarray, *, gain: float, offset: float) -> np.ndarray:
    """Return the frame as exported: uint8, bone bright, windowed between its own percentiles."""
    low, high = np.percentile(seen, (1.0, 99.6))
    grey = 0.10 + offset + 0.90 * gain * (seen - low) / (high - low)
    return np.asarray(np.clip(np.rint(255 * grey), 0, 255), np.uint8)


def _soft_tissue(thickness_cm: float, rng: np.random.Generator) -> np.ndarray:
    """Uneven fat and muscle (0.03 g/cm2), thicker with the patient, with gas in some."""
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
    """Noise of the native grid, its rows interpolated to square pixels: that is why it is streaky."""
    native_rows = round(FRAME_HEIGHT_PX * SPACING_MM / NATIVE_ROW_MM)
    noise = rng.standard_normal((native_rows, FRAME_WIDTH_PX), dtype=np.float32)
    noise *= np.float32(NOISE_SD_G_CM2 * np.exp(ATTENUATION_PER_CM * (thickness_cm - 20.0) / 2))
    position = np.linspace(0, native_rows - 1, FRAME_HEIGHT_PX)
    above = position.astype(int)
    below = np.minimum(above + 1, native_rows - 1)
    fraction = (position - above)[:, None].astype(np.float32)
    return np.asarray(ndimage.gaussian_filter1d(noise[above] * (1 - fraction) + noise[below] * fraction, 0.45, axis=1))

"""Trabecular texture: Gaussian fields whose variogram grows as a power of distance; TBS sets the exponent.

TBS is the slope at the origin of log V(k) against log k, where V is the experimental variogram of grey levels
(Pothuaud, Carceller, Hans, Bone 42:775-787, 2008). Blur and noise flatten this slope, so the exponent of the field is
not the TBS. A calibration table gives the exponent for which the slope *measured in the final image*, at nominal blur,
noise and amplitude, equals the requested TBS. `scripts/calibrate_phantom.py` recomputes the table.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy import fft

FIELD_PX = 128  # side of a field; covers the largest vertebra (50 mm x 1.24 = 104 px)
RANGE_PX = 28.0  # distance at which the field decorrelates, about 17 mm
REFERENCE_PX = 4.0  # distance at which the amplitude is stated
AMPLITUDE_G_CM2 = 0.120  # SD of increments over REFERENCE_PX, divided by sqrt(2); fitted to variograms of real frames

CALIBRATION_SLOPE = (1.0330, 1.1324, 1.2460, 1.3327, 1.4022, 1.4767, 1.5356, 1.5815, 1.6135)
CALIBRATION_EXPONENT = (0.05, 0.15, 0.30, 0.45, 0.60, 0.80, 1.00, 1.20, 1.40)


def exponent_for(tbs: float) -> float:
    """Return the exponent of a field that shows `tbs`, by linear inter- and extrapolation, clipped to [0.02, 1.9]."""
    slopes, exponents = np.array(CALIBRATION_SLOPE), np.array(CALIBRATION_EXPONENT)
    left = int(np.clip(np.searchsorted(slopes, tbs) - 1, 0, len(slopes) - 2))
    step = (exponents[left + 1] - exponents[left]) / (slopes[left + 1] - slopes[left])
    return float(np.clip(exponents[left] + step * (tbs - slopes[left]), 0.02, 1.9))


def power_law_field(rng: np.random.Generator, exponent: float) -> np.ndarray:
    """Return a field z, float32 (128, 128), with mean (z(x) - z(x + k))^2 = 2 (k / REFERENCE_PX)^exponent for small k.

    The relation is exact up to a term in k^2.

    Source: Stein, J. Comput. Graph. Stat. 11:587-599 (2002).
    """
    white = fft.rfft2(rng.standard_normal((FIELD_PX, FIELD_PX), dtype=np.float32))
    field = fft.irfft2(white * _root_spectrum(round(exponent * 100)), s=(FIELD_PX, FIELD_PX))
    return np.asarray(field * (RANGE_PX / REFERENCE_PX) ** (exponent / 2), np.float32)


@functools.lru_cache(maxsize=200)  # holds all exponents; rounding to hundredths changes the slope by less than 0.005
def _root_spectrum(exponent_hundredths: int) -> np.ndarray:
    """Return the square roots of the eigenvalues of Stein's block-circulant covariance."""
    a = exponent_hundredths / 100
    if a <= 1.5:
        cutoff, beta, c2, c0 = 1.0, 0.0, a / 2, 1 - a / 2
    else:
        cutoff = 2.0
        beta = a * (2 - a) / (3 * cutoff * (cutoff**2 - 1))
        c2 = (a - beta * (cutoff - 1) ** 2 * (cutoff + 2)) / 2
        c0 = beta * (cutoff - 1) ** 3 + 1 - c2
    k = np.minimum(np.arange(FIELD_PX), FIELD_PX - np.arange(FIELD_PX))
    r = np.hypot(k[:, None], k[None, :]) / RANGE_PX
    tail = np.where(r <= cutoff, beta * (cutoff - r) ** 3 / np.maximum(r, 1e-9), 0.0)
    covariance = np.where(r <= 1, c0 - r**a + c2 * r**2, tail)
    eigenvalues = fft.rfft2(covariance).real
    return np.asarray(np.sqrt(np.clip(eigenvalues, 0.0, None)), np.float32)

"""Areal bone density of T12 to L5, ribs and pelvis in g/cm2, and the position of each vertebral body.

Shapes follow published DXA frames; sizes come from `population`. Numbers in formulas are densities relative to the
patient's BMD, lengths in mm, or fractions of a body's width and height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dxa_tbs.data.phantom.population import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, LEVELS, SPACING_MM, Spine

POSTERIOR_CONTRAST = 0.45  # of cortices, pedicles, facets and processes relative to the body; set by eye
Y_MM, X_MM = (SPACING_MM * grid for grid in np.mgrid[0:FRAME_HEIGHT_PX, 0:FRAME_WIDTH_PX].astype(np.float32))


@dataclass(frozen=True)
class Body:
    """A vertebral body in its window of the frame.

    Attributes:
        window: rows and columns of the frame.
        weight: 0 outside, 1 inside, with an edge about a pixel wide; shape of the window.
        interior: True well inside the end plates and cortices, where texture is measured; shape of the window.
    """

    window: tuple[slice, slice]
    weight: np.ndarray
    interior: np.ndarray


def draw_spine(spine: Spine, *, bmd_g_cm2: float, rng: np.random.Generator) -> tuple[np.ndarray, list[Body]]:
    """Return the areal density without texture, float32 (280, 300) in g/cm2, and the bodies, T12 to L5."""
    density = np.zeros((FRAME_HEIGHT_PX, FRAME_WIDTH_PX), np.float32)
    bodies = []
    for level in range(len(LEVELS)):
        body, relative = _draw_vertebra(spine, level)
        density[body.window] += bmd_g_cm2 * relative
        bodies.append(body)
    density += bmd_g_cm2 * (_ribs(spine) + _pelvis(spine, rng))
    return density, bodies


def soft_step(distance: np.ndarray, width: float) -> np.ndarray:
    """Return a smooth step from 0 to 1 at distance zero, about 2 x `width` wide."""
    return np.asarray(0.5 * (1 + np.tanh(distance / width)))


def ellipse(u: np.ndarray, v: np.ndarray, *, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """Return the distance from `centre` in units of the radii; below 1 inside the ellipse."""
    return np.hypot((u - centre[0]) / radii[0], (v - centre[1]) / radii[1])


def _draw_vertebra(spine: Spine, level: int) -> tuple[Body, np.ndarray]:
    """Return the body, and the relative density with posterior elements in the body's window."""
    width, height = float(spine.widths_mm[level]), float(spine.heights_mm[level])
    window, u, v = _body_axes(spine, level)
    half_height = height / 2 - 0.9 * (1 - np.clip((u / (width / 2)) ** 2, 0, 1))  # biconcave end plates
    half_width = width / 2 * (1 - 0.09 * np.clip(1 - (v / (height / 2)) ** 2, 0, 1))  # waist
    inside_mm = _rounded_box(np.abs(u) - half_width, np.abs(v) - half_height, corner_mm=3.2 * spine.scale)
    weight = soft_step(inside_mm, 1.1)

    relative = weight * (0.50 + 0.16 * np.sqrt(np.clip(1 - (u / (width / 2 + 2)) ** 2, 0, 1)))
    plates = 0.24 * _ridge(np.minimum(inside_mm, half_height - np.abs(v)), at=1.2, width=1.5)
    cortex = 0.22 * _ridge(np.minimum(inside_mm, half_width - np.abs(u)), at=1.4, width=1.5)
    relative += POSTERIOR_CONTRAST * weight * (plates + cortex)
    relative += _posterior_elements(u, v, weight, spine=spine, level=level)
    interior = (np.abs(u) < half_width - 3.0) & (np.abs(v) < half_height - 2.5)
    return Body(window, weight.astype(np.float32), interior), relative.astype(np.float32)


def _body_axes(spine: Spine, level: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Return the window of the vertebra, and coordinates in mm across (u) and along (v) the tilted spine."""
    x, y = spine.x_mm[level], spine.y_mm[level]
    width, height = spine.widths_mm[level], spine.heights_mm[level]
    rows = _pixels(y - 1.05 * height, y + 1.15 * height, FRAME_HEIGHT_PX)
    columns = _pixels(x - width / 2 - 22.0, x + width / 2 + 22.0, FRAME_WIDTH_PX)
    above, below = max(level - 1, 0), min(level + 1, len(LEVELS) - 1)
    slope = np.arctan2(spine.x_mm[below] - spine.x_mm[above], spine.y_mm[below] - spine.y_mm[above])
    cos, sin = np.float32(np.cos(slope)), np.float32(np.sin(slope))
    dx, dy = X_MM[rows, columns] - np.float32(x), Y_MM[rows, columns] - np.float32(y)
    return (rows, columns), dx * cos - dy * sin, dx * sin + dy * cos


def _posterior_elements(u: np.ndarray, v: np.ndarray, body: np.ndarray, *, spine: Spine, level: int) -> np.ndarray:
    """Return the relative density of everything behind the body; it fills the disc gaps and overlaps the body."""
    width, height, s = float(spine.widths_mm[level]), float(spine.heights_mm[level]), spine.scale
    gap = soft_step(0.40 * width - np.abs(u), 2.2) * soft_step(0.80 * height - np.abs(v - 0.10 * height), 2.5)
    relative: np.ndarray = 0.40 * (1 - body) * gap  # posterior wall, laminae and facets seen between the bodies
    for side in (-1, 1):
        pedicle = ellipse(u, v, centre=(side * 0.295 * width, -0.15 * height), radii=(4.3 * s, 6.3 * s))
        facet = ellipse(u, v, centre=(side * 0.29 * width, 0.54 * height), radii=(5.4 * s, 6.8 * s))
        transverse = ellipse(u, v, centre=(side * (width / 2 + 8 * s), -0.10 * height), radii=(9.0 * s, 3.2 * s))
        lamina_mm = 0.87 * np.abs(v - 0.16 * height - 0.55 * (0.26 * width - np.abs(u)))  # an inverted V
        lamina = soft_step(2.4 - lamina_mm, 1.4) * soft_step(0.30 * width - np.abs(u), 1.2) * (u * side > 0)
        relative += POSTERIOR_CONTRAST * (
            0.16 * soft_step(1 - pedicle, 0.25) + 0.34 * _ridge(pedicle, at=0.95, width=0.28)
        )
        relative += POSTERIOR_CONTRAST * (0.42 * soft_step(1 - facet, 0.35) + 0.14 * lamina)
        relative += 0.07 * soft_step(1 - transverse, 0.35)
    spinous = ellipse(u, v, centre=(spine.spinous_shift_mm, 0.40 * height), radii=(3.0 * s, 0.36 * height))
    canal = ellipse(u, v, centre=(0.0, -0.12 * height), radii=(0.17 * width, 0.22 * height))
    relative += POSTERIOR_CONTRAST * 0.46 * soft_step(1 - spinous, 0.30)
    relative -= POSTERIOR_CONTRAST * 0.10 * body * soft_step(1 - canal, 0.35)
    return relative


def _ribs(spine: Spine) -> np.ndarray:
    """Return the relative density of the twelfth ribs, which descend from T12."""
    relative: np.ndarray = np.zeros_like(X_MM)
    for side in (-1, 1):
        lateral = side * (X_MM - np.float32(spine.x_mm[0]))
        course = np.float32(spine.y_mm[0] - spine.heights_mm[0] / 4 - 6) + 0.22 * lateral + 0.0016 * lateral**2
        relative += 0.16 * _ridge(Y_MM, at=course, width=3.4) * soft_step(lateral - 18, 3.0)
    return relative


def _pelvis(spine: Spine, rng: np.random.Generator) -> np.ndarray:
    """Return the relative density of iliac crests and sacral ala, beside and below L4."""
    relative: np.ndarray = np.zeros_like(X_MM)
    for side in (-1, 1):
        x = np.float32(spine.x_mm[4] + side * rng.normal(92, 4))
        y = np.float32(spine.y_mm[4] + rng.normal(64, 5))
        radius = np.hypot((X_MM - x) / 1.10, Y_MM - y) + 2.0 * np.sin(Y_MM / 7.0 + np.float32(rng.uniform(0, 6)))
        relative += 0.16 * soft_step(52 - radius, 3.0) + 0.14 * _ridge(radius, at=52, width=3.0)
    return relative


def _ridge(distance: np.ndarray, *, at: float | np.ndarray, width: float) -> np.ndarray:
    return np.asarray(np.exp(-(((distance - at) / width) ** 2)))


def _rounded_box(beyond_x: np.ndarray, beyond_y: np.ndarray, *, corner_mm: float) -> np.ndarray:
    """Return the signed distance to the edge of a box with round corners; positive inside."""
    x, y = beyond_x + corner_mm, beyond_y + corner_mm
    outside = np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0)
    return np.asarray(corner_mm - outside)


def _pixels(low_mm: float, high_mm: float, size_px: int) -> slice:
    return slice(max(0, int(low_mm / SPACING_MM)), max(0, min(size_px, int(high_mm / SPACING_MM) + 1)))

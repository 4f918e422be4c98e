"""Small line charts as SVG text, for a page that holds hundreds of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 260, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 34


@dataclass(frozen=True)
class Line:
    """Attributes: name, shown at its end unless empty; x, y: shape (N,)."""

    name: str
    x: np.ndarray
    y: np.ndarray
    is_dashed: bool = False


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    mark_x: float | None = None,
) -> Markup:
    """Return an SVG element with a title for screen readers; NaN and infinite values are left out.

    Args:
        band: x, low, high.
        mark_x: position of a vertical line.
    """
    x_all, y_all = (np.concatenate([getattr(line, axis) for line in lines]) for axis in ("x", "y"))
    x_range, y_range = _range(x_all), _range(y_all if band is None else np.concatenate([y_all, band[1], band[2]]))

    def points(x: np.ndarray, y: np.ndarray) -> str:
        known = np.isfinite(y)
        left = LEFT + (x[known] - x_range[0]) / np.ptp(x_range) * (WIDTH - LEFT - RIGHT)
        top = TOP + (y_range[1] - y[known]) / np.ptp(y_range) * (HEIGHT - TOP - BOTTOM)
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(left, top, strict=True))

    parts = []
    if band is not None:
        x, low, high = band
        around = f"{points(x, low)} {points(x[::-1], high[::-1])}"
        parts.append(Markup('<polygon class="band" points="{}"/>').format(around))
    if mark_x is not None:
        x = np.array([mark_x, mark_x], float)
        parts.append(Markup('<polyline class="mark" points="{}"/>').format(points(x, np.array(y_range))))
    for line in lines:
        style = "dashed" if line.is_dashed else "solid"
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(style, points(line.x, line.y)))
    parts += _frame(x_range, y_range, x_label + _legend(lines), y_label)
    return Markup('<svg role="img" viewBox="0 0 {} {}"><title>{}</title>{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(parts)
    )


def _frame(x_range: tuple[float, float], y_range: tuple[float, float], x_label: str, y_label: str) -> list[Markup]:
    """Return both axes, the ends of their ranges and their labels."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    axes = Markup('<path class="axes" d="M{0},{1}V{2}H{3}"/>').format(LEFT, TOP, bottom, right)
    texts = [
        (LEFT, bottom + 12, "start", f"{x_range[0]:g}"),
        (right, bottom + 12, "end", f"{x_range[1]:g}"),
        ((LEFT + right) / 2, HEIGHT - 4, "middle", x_label),
        (LEFT - 4, bottom, "end", f"{y_range[0]:.3g}"),
        (LEFT - 4, TOP + 8, "end", f"{y_range[1]:.3g}"),
    ]
    upright = Markup('<text x="{:.0f}" y="{:.0f}" text-anchor="{}">{}</text>')
    sideways = Markup('<text transform="translate(12 {:.0f}) rotate(-90)" text-anchor="middle">{}</text>')
    return [axes, *(upright.format(*one) for one in texts), sideways.format((TOP + bottom) / 2, y_label)]


def _legend(lines: Sequence[Line]) -> str:
    named = [f"{'dashed' if line.is_dashed else 'solid'}: {line.name}" for line in lines if line.name]
    return f" ({', '.join(named)})" if named else ""


def _range(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)

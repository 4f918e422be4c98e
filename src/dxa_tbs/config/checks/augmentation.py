"""Checks of the section augmentation."""

from __future__ import annotations

from collections.abc import Iterator

from dxa_tbs.config.checks.ranges import outside
from dxa_tbs.config.schema import Config


def augmentation_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of the augmentation that cannot be used."""
    augmentation = config.augmentation
    for key in ("copies_per_normal", "copies_per_degraded"):
        yield from outside(f"augmentation.{key}", getattr(augmentation, key), 0)
    yield from outside("augmentation.flip_probability", augmentation.flip_probability, 0, 1)
    yield from outside("augmentation.max_rotation_deg", augmentation.max_rotation_deg, 0, 45)
    least, greatest = augmentation.min_brightness_change, augmentation.max_brightness_change
    if not 0 <= least <= greatest < 1:
        yield (
            f"augmentation.min_brightness_change={least}, max_brightness_change={greatest}: "
            "must be in ascending order, at least 0 and below 1"
        )

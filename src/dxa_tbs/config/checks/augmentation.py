"""Checks of the section augmentation."""

from __future__ import annotations

from collections.abc import Iterator

from dxa_tbs.config.checks.ranges import outside
from dxa_tbs.config.choices import When
from dxa_tbs.config.operations import KEY
from dxa_tbs.config.schema import Config, HeadConfig

RANGES = {  # of the settings of an operation
    ("flip", "probability"): (0, 1),
    ("rotate", "max_deg"): (0, 45),
    ("shift", "max_px"): (0, 100),
    ("zoom", "max_change"): (0, 0.5),
    ("contrast", "max_change"): (0, 1),
    ("noise", "max_sd"): (0, 128),
    ("blur", "max_sigma_px"): (0, 10),
}


def augmentation_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of the augmentation that cannot be used."""
    yield from _problems_of_operations(config)
    augmentation = config.augmentation
    copies = {key: getattr(augmentation, key) for key in ("copies_per_normal", "copies_per_degraded")}
    for key, number in copies.items():
        yield from outside(f"augmentation.{key}", number, 0)
    if augmentation.when is When.epoch:
        for key, number in copies.items():
            if number:
                yield f"augmentation.{key}={number}: augmentation.when=epoch changes the originals themselves: give 0"
        if not augmentation.operations:
            yield f"{KEY}=[]: nothing would change with augmentation.when=epoch: use augmentation=none"
        if isinstance(config.approach, HeadConfig) and config.approach.cache_features:
            yield (
                "augmentation.when=epoch: the images differ in each epoch, so their features cannot be computed once: "
                "give approach.cache_features=false"
            )
    elif bool(augmentation.operations) != any(copies.values()):
        yield (
            f"{KEY}=[]: copies would equal their originals: name operations, or use augmentation=none"
            if not augmentation.operations
            else "augmentation.copies_per_normal=0, copies_per_degraded=0: the operations would have no images: give "
            "numbers of copies, augmentation.when=epoch, or augmentation=none"
        )


def _problems_of_operations(config: Config) -> Iterator[str]:
    for place, operation in enumerate(config.augmentation.operations):
        key, name = f"{KEY}.{place}", operation["name"]
        for setting, value in operation.items():
            if limits := RANGES.get((name, setting)):
                yield from outside(f"{key}.{setting}", value, *limits)
        if name == "brightness" and not 0 <= operation["min_change"] <= operation["max_change"] < 1:
            yield (
                f"{key}.min_change={operation['min_change']}, max_change={operation['max_change']}: "
                "must be in ascending order, at least 0 and below 1"
            )

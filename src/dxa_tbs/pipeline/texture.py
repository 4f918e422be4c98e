"""What the operations of an augmentation do to texture: the slope of the variogram before and after. No torch here.

The slope is that of the whole window, whether or not the cohort has boxes: some operations move the image, and the
vertebral bodies with it.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from dxa_tbs.config.kinds import KINDS
from dxa_tbs.config.operations import completed_operations
from dxa_tbs.config.schema import Config
from dxa_tbs.data.augment import Operation, make_copy
from dxa_tbs.data.measures import measure
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.augmentation import build_operation, build_operations
from dxa_tbs.pipeline.prepare import ImageSet, prepare
from dxa_tbs.progress import OnProgress, Progress, ignore_progress

log = logging.getLogger("dxa_tbs.data")

UNKNOWN_BOX = np.full(4, np.nan)
NUM_DRAWS = 24  # among which the two that differ most are shown
SHOWN_QUANTILES = (0.1, 0.9)  # of the slope: the images shown
Entries = list[dict[str, Any]]  # of augmentation.operations


@dataclass(frozen=True)
class Example:
    """A training image and what operations make of it.

    Attributes:
        image: uint8 (H, W).
        slope: of its variogram.
        changed: for each row of the table, the two most different of NUM_DRAWS images, each with its slope.
    """

    image: np.ndarray
    slope: float
    changed: Sequence[Sequence[tuple[np.ndarray, float]]]


@dataclass(frozen=True)
class Texture:
    """What operations do to the texture of training images.

    Attributes:
        table: one row per operation, and last all that are configured, one after the other; see `_row`.
        operations: the entries of augmentation.operations behind each row.
        is_synthetic: whether any image is a phantom.
    """

    table: pd.DataFrame
    operations: Sequence[Entries]
    examples: Sequence[Example]
    is_synthetic: bool


def measure_texture(config: Config, *, num_images: int, on_progress: OnProgress = ignore_progress) -> Texture:
    """Measure every built-in operation with its default settings, and the configured ones alone and together.

    Each operation is applied once to each image, at random.

    Args:
        num_images: of the training images, taken at equal distances from their table; all, if there are fewer.

    Raises:
        Refusal: the data or the operations cannot be used, or there are fewer than two images with texture.
    """
    if config.evaluate is not None:
        raise Refusal(f"evaluate={config.evaluate}: this measures a configuration, not a run: drop it")
    if num_images < 2:
        raise Refusal(f"--images {num_images}: give at least 2, because their spread is computed")
    rows = list(_rows(config))
    prepared = prepare(config, copies=False, on_progress=on_progress)
    images, before = _with_texture(_chosen(prepared.development, num_images))
    image_ids = images.table["image_id"].tolist()
    measured = []
    for done, (used, _, operations) in enumerate(rows, start=1):
        change = functools.partial(make_copy, operations=operations, seed=config.seed)
        after = [
            slope_of(change(image, image_id=f"{image_id}+1"))
            for image, image_id in zip(images.pixels, image_ids, strict=True)
        ]
        measured.append({"used": used} | _row(before, np.array(after)))
        on_progress(Progress("operations", done, len(rows), unit="operation"))
    shown = [int(np.argsort(before)[round(quantile * (len(before) - 1))]) for quantile in SHOWN_QUANTILES]
    examples = [
        Example(
            images.pixels[place],
            float(before[place]),
            [_extremes(images.pixels[place], operations, image_ids[place], config.seed) for *_, operations in rows],
        )
        for place in shown
    ]
    return Texture(pd.DataFrame(measured), [entries for _, entries, _ in rows], examples, prepared.is_synthetic)


def slope_of(image: np.ndarray) -> float:
    """Return the slope of the variogram of a whole image, uint8 (H, W); NaN if it has no texture."""
    return measure(image, UNKNOWN_BOX)["variogram_slope"]


def _rows(config: Config) -> Iterator[tuple[str, Entries, list[Operation]]]:
    """Yield where an operation is used, its entry and itself; last, all that are configured."""
    configured = config.augmentation.operations
    built_in = [name for name, kind in KINDS["operation"].items() if kind.function.startswith("dxa_tbs.")]
    defaults = completed_operations([{"name": name} for name in built_in])
    operations = build_operations(config.augmentation)
    for entry in defaults:
        used = "default, configured" if entry in configured else "default"
        yield used, [entry], [build_operation(entry, key=entry["name"])]
    for entry, operation in zip(configured, operations, strict=True):
        if entry not in defaults:
            yield "configured", [entry], [operation]
    if len(configured) > 1:
        yield "all configured", configured, operations


def _chosen(development: ImageSet, num_images: int) -> ImageSet:
    """Return training images at equal distances in their table."""
    rows = np.flatnonzero(development.table["split"] == "train")
    chosen = rows[np.linspace(0, len(rows) - 1, min(num_images, len(rows))).round().astype(int)]
    return ImageSet(development.table.iloc[chosen], np.asarray(development.pixels[chosen]))


def _with_texture(images: ImageSet) -> tuple[ImageSet, np.ndarray]:
    """Return the images whose slope is defined, and their slopes, (N,)."""
    slopes = np.array([slope_of(image) for image in images.pixels])
    has_texture = np.isfinite(slopes)
    if not has_texture.all():
        log.warning("%d of %d images have no texture and are left out", (~has_texture).sum(), len(slopes))
    if has_texture.sum() < 2:
        raise Refusal(f"{has_texture.sum()} of {len(slopes)} images have a texture: this needs at least 2")
    return ImageSet(images.table[has_texture], images.pixels[has_texture]), slopes[has_texture]


def _row(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Return the mean slopes and their shift, of images that each have a slope before and after.

    The interval is that of Student's t for the mean of the paired differences; it is about other images. `shift_in_sd`
    is the mean shift in units of the standard deviation of the slope between images.
    """
    shift = after - before
    mean, sd, num = shift.mean(), shift.std(ddof=1), len(shift)
    margin = stats.t.ppf(0.975, num - 1) * sd / np.sqrt(num)
    return {
        "images": num,
        "slope_before": before.mean(),
        "slope_after": after.mean(),
        "shift": mean,
        "shift_low": mean - margin,
        "shift_high": mean + margin,
        "shift_sd": sd,
        "shift_in_sd": mean / before.std(ddof=1),
    }


def _extremes(
    image: np.ndarray, operations: Sequence[Operation], image_id: str, seed: int
) -> list[tuple[np.ndarray, float]]:
    """Return the two of NUM_DRAWS changed images that differ most from each other, each with its slope."""
    drawn = [
        make_copy(image, operations, image_id=f"{image_id}+{number}", seed=seed) for number in range(1, NUM_DRAWS + 1)
    ]
    flat = np.stack(drawn).reshape(NUM_DRAWS, -1).astype(np.float32)
    first, second = max(
        itertools.combinations(range(NUM_DRAWS), 2), key=lambda pair: np.abs(flat[pair[0]] - flat[pair[1]]).mean()
    )
    pair: Mapping[int, np.ndarray] = {number: drawn[number] for number in sorted((first, second))}
    return [(changed, slope_of(changed)) for changed in pair.values()]

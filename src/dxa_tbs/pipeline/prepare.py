"""The verb prepare: read, check, split, decode and augment the images. Never imports torch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from dxa_tbs.config.choices import NearDuplicates
from dxa_tbs.config.schema import AugmentationConfig, Config
from dxa_tbs.data.audit import check_near_duplicates, check_pixels
from dxa_tbs.data.augment import plan_copies
from dxa_tbs.data.copies import load_with_copies
from dxa_tbs.data.images import load_images, read_frame
from dxa_tbs.data.measures import MEASURES
from dxa_tbs.data.phantom.cohort import SCANNER
from dxa_tbs.data.split import SPLITS
from dxa_tbs.pipeline.augmentation import build_operations, warn_of_unequal_texture
from dxa_tbs.pipeline.clock import Clock
from dxa_tbs.pipeline.cohort import Cohort, gather_cohort
from dxa_tbs.pipeline.task import build_task
from dxa_tbs.progress import OnProgress, ignore_progress
from dxa_tbs.runs.records import SPLIT_COLUMNS

log = logging.getLogger("dxa_tbs.data")


@dataclass(frozen=True)
class ImageSet:
    """Images of one or two splits.

    Attributes:
        table: one row per image, with the index of the table of all images.
        pixels: uint8 (N, S, S), in the same order.
    """

    table: pd.DataFrame
    pixels: np.ndarray


class Example(TypedDict):
    """One frame for the figure of frame and crop: its row in the table, its pixels and its region of interest."""

    row: int
    frame: np.ndarray
    roi: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """The images of a cohort, ready for training and test.

    Attributes:
        table: one row per image, augmented copies last (split.csv).
        development: the images of train and val with their copies; training gets no others.
        test: the images of test.
        is_synthetic: whether any image is a phantom, even one that was exported and read back.
        bits: bits in use in 16-bit files; None: there were no such files.
        measures: image_id and `data.measures.MEASURES` of each original (measures.csv).
        signatures: of each original, int8 (N, 512), see `data.likeness`.
    """

    cohort: Cohort
    table: pd.DataFrame
    development: ImageSet
    test: ImageSet
    is_synthetic: bool
    bits: int | None
    measures: pd.DataFrame
    signatures: np.ndarray
    example: Example

    def pixels_of(self, rows: Iterable[int]) -> np.ndarray:
        """Return the images in these rows of the table, uint8 (R, S, S)."""
        side, place = np.empty(len(self.table), int), np.empty(len(self.table), int)
        sets = (self.development, self.test)
        for number, images in enumerate(sets):
            side[images.table.index], place[images.table.index] = number, range(len(images.table))
        chosen = [sets[side[row]].pixels[place[row]] for row in rows]
        return np.stack(chosen) if chosen else self.test.pixels[:0]


def prepare(
    config: Config,
    cohort: Cohort | None = None,
    *,
    copies: bool = True,
    bits: int | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Prepared:
    """Return the images of the configured cohort, split, with the augmented copies of train and val.

    Args:
        cohort: of the same configuration, if it has been gathered already.
        copies: whether to make augmented copies; an evaluation has none.
        bits: bits in use in 16-bit files, unless configured; None: found from the images.
        clock: of the run; records the time of this preparation.

    Raises:
        Refusal: an image cannot be used, or the same or nearly the same image is in two splits.
    """
    cohort, clock = cohort or gather_cohort(config), clock or Clock()
    cache_dir = Path(config.cache_dir)
    images = load_images(
        cohort.table,
        list(cohort.table["source_sha256"]),
        fit=config.preprocessing.fit,
        size_px=config.preprocessing.size_px,
        region=config.preprocessing.region,
        bits=getattr(config.dataset, "bits", None) or bits,
        cache_dir=cache_dir,
        on_progress=on_progress,
    )
    table = cohort.table.assign(origin="", sha256=images.sha256)
    check_pixels(table, class_names=build_task(config).class_names)
    refuses = config.dataset.near_duplicates is NearDuplicates.refuse
    check_near_duplicates(table, images.signatures, refuses=refuses)
    columns = [*SPLIT_COLUMNS] + [name.lower() for name in config.dataset.subgroups if name.lower() in table]
    originals = table[columns]
    with clock.part("prepare_s"):
        augmentation = config.augmentation if copies and config.evaluate is None else None
        development = add_copies(originals, images.pixels, augmentation, seed=config.seed, cache_dir=cache_dir)
        is_test = (table["split"] == "test").to_numpy()
        test = ImageSet(originals[is_test], images.pixels if is_test.all() else images.pixels[is_test])
    first = int(np.argmax(table["split"] == "train"))
    frame, roi = read_frame(table.loc[first], bits=images.bits)
    return Prepared(
        cohort=cohort,
        table=pd.concat([originals, development.table[development.table["origin"] != ""]]),
        development=development,
        test=test,
        is_synthetic="scanner" in table and bool((table["scanner"] == SCANNER).any()),
        bits=images.bits,
        measures=images.measures.round(6).assign(image_id=table["image_id"])[["image_id", *MEASURES]],
        signatures=images.signatures,
        example={"row": first, "frame": frame, "roi": roi},
    )


def add_copies(
    originals: pd.DataFrame, pixels: np.ndarray, how: AugmentationConfig | None, *, seed: int, cache_dir: Path
) -> ImageSet:
    """Return the images of train and val, followed by their augmented copies."""
    seen = originals[originals["split"] != "test"]
    per_original = {} if how is None else {0: how.copies_per_normal, 1: how.copies_per_degraded}
    if how is None or not any(per_original.values()):
        return ImageSet(seen, pixels[seen.index])
    plan = plan_copies(originals, per_original=per_original, seed=seed)
    warn_of_unequal_texture(how)
    made, sha256 = load_with_copies(
        pixels,
        seen.index.to_numpy(),
        seen["sha256"].tolist(),
        plan,
        build_operations(how),
        seed=seed,
        cache_dir=cache_dir,
    )
    copies = plan.assign(sha256=sha256).set_index(np.arange(len(originals), len(originals) + len(plan)))
    return ImageSet(pd.concat([seen, copies]), made)


def count_images(table: pd.DataFrame, class_names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the rows of Table I: the numbers of originals and copies of each class in each split."""
    counts = {}
    for split in SPLITS:
        part = table[table["split"] == split]
        is_copy = part["origin"] != ""
        counts[split] = {
            f"{name.lower()}_{kind}": int(((part["label"] == label) & chosen).sum())
            for kind, chosen in (("original", ~is_copy), ("augmented", is_copy))
            for label, name in enumerate(class_names)
        }
    return counts

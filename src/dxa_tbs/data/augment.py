"""Augmented copies of training and validation images: flipped, rotated, darkened or brightened. Test images have none.

The paper assumes that this does not change texture. Rotation does: bilinear interpolation smooths (slope of the
variogram +0.18; spread in the population 0.10). The shares of copies in each class therefore matter; see
conf/augmentation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from dxa_tbs.config.choices import Interpolation

RESAMPLING = {Interpolation.bilinear: Image.Resampling.BILINEAR, Interpolation.bicubic: Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Changes:
    """The distribution of the random changes to a copy.

    Attributes:
        max_rotation_deg: the angle is uniform between minus and plus this value; mirrored pixels fill the corners.
        min_brightness_change, max_brightness_change: the factor is 1 plus or minus a uniform draw between the two.
    """

    flip_probability: float
    max_rotation_deg: float
    min_brightness_change: float
    max_brightness_change: float
    interpolation: Interpolation


def plan_copies(table: pd.DataFrame, *, per_original: Mapping[int, float], seed: int) -> pd.DataFrame:
    """Return one row per copy: the original's row with image_id `<original>+<k>` and origin `<original>`.

    Each split and class gets round(share x originals) copies; the numbers of copies per original differ by at most one.

    Args:
        table: the originals, with image_id, label, split, ...; only train and val are copied.
        per_original: number of copies per original, for each label.
        seed: determines which originals get one copy more.
    """
    chosen: list[pd.DataFrame] = []
    for split in ("train", "val"):
        for label, share in per_original.items():
            originals = table[(table["split"] == split) & (table["label"] == label)]
            rng = _stream(seed, split, label)
            rounds = range(int(np.ceil(share)) + 1)
            order = np.concatenate([rng.permutation(len(originals)) for _ in rounds])[: round(share * len(originals))]
            copies = originals.iloc[order]
            number = copies.groupby("image_id").cumcount() + 1
            chosen.append(
                copies.assign(origin=copies["image_id"], image_id=copies["image_id"] + "+" + number.astype(str))
            )
    return pd.concat(chosen)


def augment(image: np.ndarray, changes: Changes, *, image_id: str, seed: int) -> np.ndarray:
    """Return a changed copy of an image, uint8 (H, W); the same `image_id` and `seed` give the same copy."""
    rng = _stream(seed, image_id)
    is_flipped = rng.random() < changes.flip_probability
    angle_deg = rng.uniform(-changes.max_rotation_deg, changes.max_rotation_deg)
    factor = 1 + rng.choice([-1, 1]) * rng.uniform(changes.min_brightness_change, changes.max_brightness_change)
    if is_flipped:
        image = image[:, ::-1]
    return _scale(_rotate(image, angle_deg, changes.interpolation), factor)


def _rotate(image: np.ndarray, angle_deg: float, interpolation: Interpolation) -> np.ndarray:
    angle = np.deg2rad(abs(angle_deg))
    margin = int(np.ceil(max(image.shape) / 2 * (np.cos(angle) + np.sin(angle) - 1))) + 2
    padded = Image.fromarray(np.pad(image, margin, mode="reflect"))
    turned = np.asarray(padded.rotate(angle_deg, resample=RESAMPLING[interpolation]))
    return turned[margin:-margin, margin:-margin]


def _scale(image: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(np.clip(np.rint(image * np.float32(factor)), 0, 255), np.uint8)


def _stream(seed: int, *what: object) -> np.random.Generator:
    digest = hashlib.sha256(repr((seed, *what)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))

"""Augmentation: which images are copied, and what the operations make of an image. Test images are never changed.

The paper assumes that augmentation does not change texture. Some operations do, rotation among them: bilinear
interpolation smooths (`python -m dxa_tbs.augmentations` measures it). The shares of copies in each class therefore
matter; see conf/augmentation.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import refusing_failures

KEY = "augmentation.operations"


@dataclass(frozen=True)
class Operation:
    """One operation of an augmentation and its settings.

    Attributes:
        function: takes an image, uint8 (H, W), a np.random.Generator and the settings; returns the changed image.
        is_own: whether it is code of the user's own.
        code_sha256: of the file that defines such code; "" if it is part of an installed package.
    """

    name: str
    function: Callable[..., np.ndarray]
    settings: Mapping[str, Any]
    is_own: bool = False
    code_sha256: str = ""


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


def make_copy(image: np.ndarray, operations: Sequence[Operation], *, image_id: str, seed: int) -> np.ndarray:
    """Return a changed copy of an image, uint8 (H, W); the same `image_id` and `seed` give the same copy."""
    return apply(operations, image, _stream(seed, image_id), image_id=image_id)


def change_for_epoch(
    image: np.ndarray, operations: Sequence[Operation], *, image_id: str, seed: int, epoch: int
) -> np.ndarray:
    """Return the image as it is shown in one epoch, uint8 (H, W); it depends on nothing but these arguments."""
    return apply(operations, image, _stream(seed, epoch, image_id), image_id=image_id)


def apply(operations: Sequence[Operation], image: np.ndarray, rng: np.random.Generator, *, image_id: str) -> np.ndarray:
    """Return the image, uint8 (H, W), after all operations, in their order. The image itself stays as it is.

    Raises:
        Refusal: an operation returns anything other than an image of the same shape; names the operation and the image.
    """
    shape = image.shape
    for operation in operations:
        refusing = refusing_failures(operation.name, key=KEY) if operation.is_own else contextlib.nullcontext()
        with refusing:
            changed = operation.function(np.array(image, order="C"), rng, **operation.settings)  # a copy of its own
        if not isinstance(changed, np.ndarray) or changed.dtype != np.uint8 or changed.shape != shape:
            found = f"{changed.dtype} {changed.shape}" if isinstance(changed, np.ndarray) else type(changed).__name__
            raise Refusal(
                f"{KEY}: {operation.name} returned {found} for image {image_id}: it must return a "
                f"NumPy array, uint8 {shape}"
            )
        image = changed
    return np.array(image, order="C")


def _stream(seed: int, *what: object) -> np.random.Generator:
    digest = hashlib.sha256(repr((seed, *what)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))

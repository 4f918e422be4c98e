"""From the section augmentation to operations, and to images changed anew in each epoch. Never imports torch."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.config.kinds import KINDS, resolve
from dxa_tbs.config.operations import KEY
from dxa_tbs.config.schema import AugmentationConfig
from dxa_tbs.data.augment import Operation, change_for_epoch
from dxa_tbs.data.repeatable import require_repeatable
from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import code_sha256, import_named

log = logging.getLogger("dxa_tbs.data")


def build_operations(augmentation: AugmentationConfig) -> list[Operation]:
    """Return the configured operations, in their order. Those of the user's own are imported.

    Raises:
        Refusal: an operation cannot be imported, or does not take its settings.
    """
    return [build_operation(entry, key=f"{KEY}.{place}") for place, entry in enumerate(augmentation.operations)]


def build_operation(entry: dict[str, Any], *, key: str) -> Operation:
    """Return the operation of one entry, which is complete.

    Args:
        key: of the entry, for messages.

    Raises:
        Refusal: it cannot be imported, or does not take its settings.
    """
    settings = {name: value for name, value in entry.items() if name != "name"}
    name = entry["name"]
    if ":" not in name:
        function = KINDS["operation"][name].function
        return Operation(name, resolve(function), settings, is_own=not function.startswith("dxa_tbs."))
    imported = import_named(name, key=key)
    try:
        inspect.signature(imported).bind(None, None, **settings)
    except (TypeError, ValueError) as error:
        raise Refusal(
            f"{key}={name}: cannot be called with an image, rng and {', '.join(settings) or 'no settings'} ({error}): "
            "correct its arguments or the settings"
        ) from None
    sha256 = code_sha256({key: name}).get(key, "")
    return Operation(name, imported, settings, is_own=True, code_sha256=sha256)


def warn_of_unequal_texture(augmentation: AugmentationConfig) -> None:
    """Warn if operations that can alter texture are applied to a larger share of one class than of the other."""
    shares = augmentation.copies_per_degraded, augmentation.copies_per_normal
    kinds = KINDS["operation"]
    names = [entry["name"] for entry in augmentation.operations]
    altering = [name for name in names if ":" in name or kinds[name].alters_texture]
    if shares[0] != shares[1] and altering:
        log.warning(
            "augmentation=%s can alter the texture of %.0f %% of the Degraded and %.0f %% of the Normal training "
            "images (%s): a network can learn that instead of the bone; augmentation=balanced treats both classes "
            "alike",
            augmentation.name,
            *(100 * share / (1 + share) for share in shares),
            ", ".join(altering),
        )


def new_images(
    table: pd.DataFrame, pixels: np.ndarray, operations: Sequence[Operation], *, seed: int
) -> Callable[[int, int, int], np.ndarray]:
    """Return a function from a row, an epoch and a number of earlier times in it to the image shown then, uint8 (H, W).

    Args:
        table: of the images, with image_id.
        pixels: of the images, uint8 (N, H, W).

    Raises:
        Refusal: an operation of the user's own returns no image, or gives another one when called again.
    """
    image_ids = table["image_id"].tolist()

    def change(row: int, epoch: int, before: int) -> np.ndarray:
        shown = f"{image_ids[row]}+{before}" if before else image_ids[row]
        return change_for_epoch(pixels[row], operations, image_id=shown, seed=seed, epoch=epoch)

    if own := [one.name for one in operations if one.is_own]:
        require_repeatable(lambda row: change(row, 1, 0), len(pixels), names=", ".join(own))
    return change

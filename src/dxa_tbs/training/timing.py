"""The time of ten epochs, as in the paper's tables, and its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

EPOCHS = 10


def ten_epochs(
    history: Sequence[Mapping[str, float]],
    *,
    num_train: int,
    parts_s: Mapping[str, float],
    epoch_ends_s: Sequence[float],
) -> dict[str, Any]:
    """Return the contents of timing.json; with fewer than ten epochs a ten-epoch time is None, never extrapolated.

    `time_10_epochs_s`, shown in the tables, is the time of ten training passes and of their preparation from decoded
    images. `cold_10_epochs_s` is the time from the start of the run to the end of the tenth epoch: the sum of all
    parts, plus the writing of files.

    Args:
        history: of the run; its times include waiting for the device.
        num_train: number of images in a training pass.
        parts_s: times before the first training pass. data_s: starting, reading and decoding, short if the images
            were in the cache; prepare_s: network, augmented copies, frozen features and transfer to the device;
            compile_s: recording the training step on a GPU.
        epoch_ends_s: time from the start of the run to the end of each epoch.
    """
    measured = history[:EPOCHS]
    train_s, val_s = (sum(epoch[name] for epoch in measured) for name in ("train_s", "val_s"))
    is_whole = len(measured) == EPOCHS
    return {
        "epochs_measured": len(measured),
        **parts_s,
        "train_10_epochs_s": train_s if is_whole else None,
        "val_10_epochs_s": val_s if is_whole else None,
        "time_10_epochs_s": parts_s["prepare_s"] + parts_s["compile_s"] + train_s if is_whole else None,
        "cold_10_epochs_s": epoch_ends_s[EPOCHS - 1] if is_whole else None,
        "images_per_s": num_train * len(measured) / train_s if measured else None,
    }

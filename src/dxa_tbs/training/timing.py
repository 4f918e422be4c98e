"""The time of ten epochs, as the paper's tables print it, and the parts it is made of."""

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
    """Return the contents of timing.json; what would need epochs that were not run is None, never extrapolated.

    `time_10_epochs_s`, the figure of the tables, is the ten training passes with what they needed once the decoded
    images existed. `cold_10_epochs_s` is the clock from the start of the run to the end of the tenth epoch: the parts
    add up to it but for writing.

    Args:
        history: of the run, every time taken after waiting for the device.
        num_train: images in a training pass.
        parts_s: before the first training pass. data_s: to start, to read and to decode, short where the cache had
            images; prepare_s: given decoded images, for the network, the copies, frozen features and the transfer;
            compile_s: to record the step of training on a GPU.
        epoch_ends_s: from the start of the run to the end of each epoch.
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

"""What must hold before anything is trained: refuses leaks, and cohorts that cannot answer the question."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dxa_tbs.data.labels import CLASS_NAMES
from dxa_tbs.errors import Refusal

log = logging.getLogger("dxa_tbs.data")


def check_split(table: pd.DataFrame, *, needed: Sequence[str]) -> None:
    """Refuse a split that shares a patient between its sides, or lacks a class where one is needed.

    Args:
        table: with the columns patient_id, label, split.
        needed: the splits that must hold both classes.

    Raises:
        Refusal: names the patients, or the split and the class.
    """
    sides = table.groupby("patient_id")["split"].nunique()
    if shared := sorted(sides.index[sides > 1]):
        raise Refusal(f"{len(shared)} patients are on two sides of the split: mend the split", shared)
    for split in needed:
        for label, name in enumerate(CLASS_NAMES):
            if not ((table["split"] == split) & (table["label"] == label)).any():
                raise Refusal(f"split: no {name} image in {split}: use more images, or another split")


def check_pixels(table: pd.DataFrame) -> None:
    """Refuse images that are the same pixel by pixel but stand on two sides of the split, or in both classes.

    Scanners re-export one scan under new names; neither file names nor file hashes show it.

    Args:
        table: with the columns image_id, label, split, source, sha256 (of the pixels).

    Raises:
        Refusal: lists the groups of twins.
    """
    twins = table[table["sha256"].duplicated(keep=False)]
    apart = twins.groupby("sha256")[["split", "label"]].transform("nunique").max(axis=1) > 1
    texts = [
        " = ".join(
            f"{row.source if isinstance(row.source, Path) else row.image_id} ({CLASS_NAMES[row.label]}, {row.split})"
            for row in group.itertuples()
        )
        for _, group in twins[apart].groupby("sha256")
    ]
    if texts:
        raise Refusal(
            f"{len(texts)} images stand twice, on two sides of the split or in both classes: remove one", texts
        )
    if not twins.empty:
        log.warning("%d images are the same as another of their class and split, pixel by pixel", len(twins))


def check_unseen(test: pd.DataFrame, seen: pd.DataFrame, *, run: str, by_patient: bool) -> None:
    """Refuse to test weights on patients or images they were trained or selected on.

    Args:
        test: the images to be scored: image_id, patient_id, sha256.
        seen: the run's own train and val images: patient_id, sha256.
        run: the run, for the message.
        by_patient: whether patient_ids say who somebody is; those made from the paths of class folders do not.

    Raises:
        Refusal: lists what was seen.
    """
    is_known = test["sha256"].isin(seen["sha256"])
    if by_patient:
        is_known |= test["patient_id"].isin(seen["patient_id"])
    if is_known.any():
        raise Refusal(
            f"{is_known.sum()} test images, of {test['patient_id'][is_known].nunique()} patients, are those {run} was "
            "trained and validated on: leave them out (two hospitals that number alike: give other patient_ids)",
            (test["image_id"] + " of patient " + test["patient_id"])[is_known].tolist(),
        )

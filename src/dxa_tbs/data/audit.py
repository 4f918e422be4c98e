"""What must hold before anything is trained: refuses leaks, and cohorts that cannot answer the question."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dxa_tbs.data.labels import CLASS_NAMES
from dxa_tbs.errors import Refusal


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
        table: with the columns image_id, label, split, sha256 (of the pixels).

    Raises:
        Refusal: lists the groups of twins.
    """
    twins = table.groupby("sha256")[["split", "label"]].nunique().max(axis=1)
    if bad := list(twins.index[twins > 1]):
        groups = table[table["sha256"].isin(bad)].groupby("sha256")
        texts = [" = ".join(f"{row.image_id} ({row.split})" for row in group.itertuples()) for _, group in groups]
        raise Refusal(f"{len(bad)} images stand twice, on two sides of the split or in both classes: remove one", texts)


def check_unseen(test: pd.DataFrame, seen: pd.DataFrame, *, run: str, by_patient: bool) -> None:
    """Refuse to test weights on patients or images they were trained or selected on.

    Args:
        test: the images to be scored: patient_id, sha256.
        seen: the run's own train and val images: patient_id, sha256.
        run: the run, for the message.
        by_patient: whether patient_ids say who somebody is; those made from the paths of class folders do not.

    Raises:
        Refusal: lists what was seen.
    """
    for column, what in (("sha256", "images"), ("patient_id", "patients"))[: 1 + by_patient]:
        if common := sorted(set(test[column]) & set(seen[column])):
            raise Refusal(
                f"{len(common)} test {what} were among the train and val {what} of {run}: leave them out "
                "(or, where two hospitals merely number alike, give other patient_ids)",
                common,
            )

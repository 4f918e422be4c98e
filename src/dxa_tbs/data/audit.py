"""What must hold before anything is trained: refuses leaks, and cohorts that cannot answer the question."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dxa_tbs.data.likeness import Pair, find_alike
from dxa_tbs.data.names import loose_form
from dxa_tbs.errors import Refusal

log = logging.getLogger("dxa_tbs.data")

MAX_PAIRS = 10_000  # more say nothing new


def check_split(table: pd.DataFrame, *, class_names: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse a split that shares a patient between its sides, or lacks a class where all are needed.

    Args:
        table: with the columns patient_id, label, split.
        needed: the splits that must hold every class.

    Raises:
        Refusal: names the patients, or the split and the class.
    """
    sides = table.groupby("patient_id")["split"].nunique()
    if shared := sorted(sides.index[sides > 1]):
        raise Refusal(f"{len(shared)} patients are on two sides of the split: mend the split", shared)
    for split in needed:
        for label, name in enumerate(class_names):
            if not ((table["split"] == split) & (table["label"] == label)).any():
                raise Refusal(f"split: no {name} image in {split}: use more images, or another split")


def check_pixels(table: pd.DataFrame, *, class_names: Sequence[str]) -> None:
    """Refuse images that are the same pixel by pixel but stand on two sides of the split, or in both classes.

    Scanners re-export one scan under new names; neither file names nor file hashes show it.

    Args:
        table: with the columns image_id, label, split, source, sha256 (of the pixels).

    Raises:
        Refusal: lists the groups of twins.
    """
    names = dict(enumerate(class_names))
    twins = table[table["sha256"].duplicated(keep=False)]
    apart = twins.groupby("sha256")[["split", "label"]].transform("nunique").max(axis=1) > 1
    texts = [
        " = ".join(
            f"{row.source if isinstance(row.source, Path) else row.image_id} "
            f"({names.get(row.label, row.label)}, {row.split})"
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


def check_near_duplicates(table: pd.DataFrame, signatures: np.ndarray, *, refuses: bool) -> None:
    """Refuse images of different patients that are nearly the same and stand on two sides of the split.

    Args:
        table: with the columns image_id, patient_id, split, source, sha256 (the same pixels: see `check_pixels`).
        signatures: of the images, as `likeness.compute_signature` makes them.
        refuses: else it warns.

    Raises:
        Refusal: lists the pairs.
    """
    patients, sides, sha256 = (table[name].to_numpy() for name in ("patient_id", "split", "sha256"))
    apart: list[Pair] = []
    num_together = 0
    for pair in find_alike(signatures):
        if patients[pair.first] == patients[pair.second] or sha256[pair.first] == sha256[pair.second]:
            continue
        if sides[pair.first] == sides[pair.second]:
            num_together += 1
        elif len(apart) < MAX_PAIRS:
            apart.append(pair)
    if num_together:
        log.warning(
            "%d pairs of images of different patients on one side of the split are nearly the same: one counts twice",
            num_together,
        )
    if apart:
        names = [
            f"{row.image_id} ({row.split}{f', {row.source}' if isinstance(row.source, Path) else ''})"
            for row in table.itertuples()
        ]
        text = f"{_at_least(apart)} pairs of images of different patients on two sides of the split are nearly the same"
        _refuse_or_warn(text, _describe(apart, names, names), refuses=refuses)


def check_nearly_unseen(
    test: pd.DataFrame,
    signatures: np.ndarray,
    seen: pd.DataFrame,
    seen_signatures: np.ndarray,
    *,
    refuses: bool,
) -> None:
    """Refuse to test weights on images that are nearly those they were trained or selected on.

    Args:
        test: the images to be scored: image_id; and their signatures.
        seen: the evaluated run's own train and val originals: image_id; and their signatures.
        refuses: else it warns.

    Raises:
        Refusal: lists the pairs.
    """
    found = find_alike(signatures, seen_signatures)
    pairs = list(itertools.islice(found, MAX_PAIRS))
    if pairs:
        text = (
            f"{_at_least(pairs)} pairs of a test image and one the run was trained or validated on are nearly the same"
        )
        details = _describe(pairs, test["image_id"].tolist(), (seen["image_id"] + " of the run").tolist())
        _refuse_or_warn(text, details, refuses=refuses)


def _at_least(pairs: Sequence[Pair]) -> str:
    return f"{len(pairs)} or more" if len(pairs) == MAX_PAIRS else str(len(pairs))


def _describe(pairs: Sequence[Pair], first: Sequence[str], second: Sequence[str]) -> list[str]:
    return [
        f"{first[pair.first]} ~ {second[pair.second]}: correlation {pair.correlation:.2f}"
        + ", mirrored" * pair.is_mirrored
        for pair in sorted(pairs, key=lambda pair: -pair.correlation)
    ]


def _refuse_or_warn(text: str, details: Sequence[str], *, refuses: bool) -> None:
    if refuses:
        raise Refusal(
            f"{text}: give them the same patient_id, or leave one out (different after a look: "
            "dataset.near_duplicates=warn)",
            details,
        )
    log.warning("%s (dataset.near_duplicates=warn)", text)
    for line in details:  # to the console: they name files
        log.info(line)


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
        is_known |= test["patient_id"].map(loose_form).isin(seen["patient_id"].map(loose_form))
    if is_known.any():
        known = test[is_known]
        whose = f", of {known['patient_id'].nunique()} patients," if by_patient else ""
        alike = " (two hospitals that number alike: give other patient_ids)" if by_patient else ""
        raise Refusal(
            f"{len(known)} test images{whose} are those {run} was trained and validated on: leave them out{alike}",
            (known["image_id"] + (" of patient " + known["patient_id"] if by_patient else "")).tolist(),
        )

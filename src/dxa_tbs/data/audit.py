"""Checks before training: leaks between splits, duplicated images and missing classes are refused."""

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

MAX_PAIRS = 10_000  # pairs that are listed at most


def check_split(table: pd.DataFrame, *, class_names: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse a split in which a patient is on two sides, or a needed class is missing.

    Args:
        table: with the columns patient_id, label, split.
        needed: the splits that must contain every class.

    Raises:
        Refusal: names the patients, or the split and the class.
    """
    sides = table.groupby("patient_id")["split"].nunique()
    if shared := sorted(sides.index[sides > 1]):
        raise Refusal(f"{len(shared)} patients are on two sides of the split: correct the split", shared)
    for split in needed:
        for label, name in enumerate(class_names):
            if not ((table["split"] == split) & (table["label"] == label)).any():
                raise Refusal(f"split: no {name} image in {split}: use more images or another split")


def check_pixels(table: pd.DataFrame, *, class_names: Sequence[str]) -> None:
    """Refuse pixel-identical images on two sides of the split or in two classes.

    Scanners export the same scan again under a new name; file names and file hashes do not reveal that.

    Args:
        table: with the columns image_id, label, split, source, sha256 (of the pixels).

    Raises:
        Refusal: lists the groups of identical images.
    """
    names = dict(enumerate(class_names))
    identical = table[table["sha256"].duplicated(keep=False)]
    apart = identical.groupby("sha256")[["split", "label"]].transform("nunique").max(axis=1) > 1
    texts = [
        " = ".join(
            f"{row.source if isinstance(row.source, Path) else row.image_id} "
            f"({names.get(row.label, row.label)}, {row.split})"
            for row in group.itertuples()
        )
        for _, group in identical[apart].groupby("sha256")
    ]
    if texts:
        raise Refusal(
            f"{len(texts)} images occur more than once, on two sides of the split or in both classes: keep one of each",
            texts,
        )
    if not identical.empty:
        log.warning("%d images are pixel by pixel the same as another of their class and split", len(identical))


def check_near_duplicates(table: pd.DataFrame, signatures: np.ndarray, *, refuses: bool) -> None:
    """Refuse nearly identical images of different patients on two sides of the split.

    Args:
        table: with the columns image_id, patient_id, split, source, sha256. Pairs with equal sha256 are left to
            `check_pixels`.
        signatures: int8 (N, 512), from `likeness.compute_signature`.
        refuses: whether to refuse; else warn.

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
            "%d pairs of images of different patients on one side of the split are nearly the same and count twice",
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
    """Refuse to test weights on images nearly identical to those they were trained or selected on.

    Args:
        test: the images to be scored, with the column image_id.
        signatures: of the images to be scored, int8 (N, 512).
        seen: the train and val originals of the evaluated run, with the column image_id.
        seen_signatures: of those originals, int8 (M, 512).
        refuses: whether to refuse; else warn.

    Raises:
        Refusal: lists the pairs.
    """
    found = find_alike(signatures, seen_signatures)
    pairs = list(itertools.islice(found, MAX_PAIRS))
    if pairs:
        text = (
            f"{_at_least(pairs)} pairs of a test image and an image the run was trained or validated on are nearly "
            "the same"
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
            f"{text}: give them the same patient_id, or leave one out (if you looked and they differ: "
            "dataset.near_duplicates=warn)",
            details,
        )
    log.warning("%s (dataset.near_duplicates=warn)", text)
    for line in details:  # the lines name files, and warnings go into the run's record: info does not
        log.info(line)


def check_unseen(test: pd.DataFrame, seen: pd.DataFrame, *, run: str, by_patient: bool) -> None:
    """Refuse to test weights on patients or images they were trained or selected on.

    Args:
        test: the images to be scored, with the columns image_id, patient_id, sha256.
        seen: the train and val images of the run, with the columns patient_id, sha256.
        run: name of the run, for the message.
        by_patient: whether patient_ids identify patients; those made from the paths of class folders do not.

    Raises:
        Refusal: lists the images that were seen.
    """
    is_known = test["sha256"].isin(seen["sha256"])
    if by_patient:
        is_known |= test["patient_id"].map(loose_form).isin(seen["patient_id"].map(loose_form))
    if is_known.any():
        known = test[is_known]
        of_patients = f", of {known['patient_id'].nunique()} patients," if by_patient else ""
        hint = " (if two hospitals use the same numbers, change the patient_ids)" if by_patient else ""
        raise Refusal(
            f"{len(known)} test images{of_patients} are among those {run} was trained or validated on: leave them "
            f"out{hint}",
            (known["image_id"] + (" of patient " + known["patient_id"] if by_patient else "")).tolist(),
        )

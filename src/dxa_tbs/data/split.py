"""Split a cohort into train, val and test. With every method, each patient is in one split only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from dxa_tbs.data.cells import read_cells
from dxa_tbs.errors import Refusal

SPLITS = ("train", "val", "test")


def split_by_counts(
    cohort: pd.DataFrame,
    *,
    class_names: Sequence[str],
    seed: int,
    train: Mapping[str, int],
    val: Mapping[str, int],
    test: Mapping[str, int],
) -> pd.Series:
    """Return train, val or test for each row, with exactly the given counts of each class.

    Patients are taken in random order, those with the most images first. A patient with several images goes to a split
    drawn with probability proportional to its free places, so that such patients are spread like all others. Patients
    with one image fill the rest.

    Args:
        train, val, test: number of images of each class, in the order of `class_names`.

    Raises:
        Refusal: the cohort has other counts, or patients with several images make an exact split impossible.
    """
    room = {name: np.array(list(of.values())) for name, of in (("test", test), ("val", val), ("train", train))}
    present = np.bincount(cohort["label"], minlength=len(class_names))
    wanted = np.sum(list(room.values()), axis=0)
    if (present != wanted).any():
        raise Refusal(
            f"split=table1 needs exactly {_of_each(wanted, class_names)} images, but the cohort has "
            f"{_of_each(present, class_names)}: use split=stratified, or split=file"
        )
    patients = pd.crosstab(cohort["patient_id"], cohort["label"]).reindex(columns=range(len(class_names)), fill_value=0)
    patients = patients.sample(frac=1, random_state=seed)
    rng = np.random.default_rng(seed)
    patients = patients.iloc[np.argsort(-patients.sum(axis=1).to_numpy(), kind="stable")]
    side = {}
    for patient, images in zip(patients.index, patients.to_numpy(), strict=True):
        fits = [name for name, left in room.items() if (images <= left).all()]
        if not fits:
            raise Refusal(
                "split=table1: patients with several images make an exact split impossible: use split=stratified"
            )
        space = np.array([room[name].sum() for name in fits])
        place = fits[0] if images.sum() == 1 else str(rng.choice(fits, p=space / space.sum()))
        room[place] -= images
        side[patient] = place
    return cohort["patient_id"].map(side)


def split_by_fractions(
    cohort: pd.DataFrame, *, class_names: Sequence[str], val_fraction: float, test_fraction: float, seed: int
) -> pd.Series:
    """Return train, val or test for each row: shares of the patients, with the same mix of classes in each.

    A patient with images of several classes counts for the one with the highest number.

    Raises:
        Refusal: a class has too few patients to be in every split.
    """
    patients = cohort.groupby("patient_id")["label"].max()
    for label, name in enumerate(class_names):
        if (count := int((patients == label).sum())) < len(SPLITS):
            raise Refusal(
                f"split=stratified: {count} {name} {_units(cohort)}: each class needs at least one in each of three "
                "splits"
            )
    num_test, num_val = (round(fraction * len(patients)) for fraction in (test_fraction, val_fraction))
    try:
        rest, test = train_test_split(patients, test_size=num_test, stratify=patients, random_state=seed)
        train, val = train_test_split(rest, test_size=num_val, stratify=rest, random_state=seed)
    except ValueError:
        raise Refusal(
            f"split.val_fraction={val_fraction}, split.test_fraction={test_fraction}: with {len(patients)} "
            f"{_units(cohort)}, some split gets none of a class ({num_val} in val, {num_test} in test): give other "
            "shares"
        ) from None
    side = {patient: name for name, part in zip(SPLITS, (train, val, test), strict=True) for patient in part.index}
    return cohort["patient_id"].map(side)


def split_by_fold(
    cohort: pd.DataFrame, *, class_names: Sequence[str], folds: int, fold: int, val_fraction: float, seed: int
) -> pd.Series:
    """Return train, val or test for each row: of `folds` parts with the same mix of classes, part `fold` is test.

    Every patient is in the test set of exactly one fold. A patient with images of several classes counts for the one
    with the highest number.

    Raises:
        Refusal: a class has too few patients for the folds or for validation.
    """
    patients = cohort.groupby("patient_id")["label"].max()
    for label, name in enumerate(class_names):
        if (count := int((patients == label).sum())) < folds + 1:
            raise Refusal(f"split.folds={folds}: {count} {name} {_units(cohort)}: each class needs more than {folds}")
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(patients, patients)
    rest, test = list(parts)[fold]
    others = patients.iloc[rest]
    num_val = round(val_fraction * len(others))
    try:
        _, val = train_test_split(others, test_size=num_val, stratify=others, random_state=seed)
    except ValueError:
        raise Refusal(
            f"split.val_fraction={val_fraction}: with {len(others)} {_units(cohort)}, train or val gets none of a "
            f"class ({num_val} in val): give another share"
        ) from None
    side = dict.fromkeys(patients.index, "train") | dict.fromkeys(val.index, "val")
    side |= dict.fromkeys(patients.index[test], "test")
    return cohort["patient_id"].map(side)


def split_from_file(
    cohort: pd.DataFrame, *, class_names: Sequence[str] = (), path: str | None, column: str
) -> pd.Series:
    """Return train, val or test for each row, read from a CSV file or, if path is None, from a column of the cohort.

    The file names images (image_id) or patients (patient_id); its rows of augmented copies (origin) are ignored.

    Raises:
        Refusal: the file, its column or one of the images is missing, or a value is not train, val or test.
    """
    origin = f"split.path={path}" if path else "split=file: the cohort's table"
    if path is None:
        side = cohort.get(column.lower())
    else:
        given = read_cells(Path(path), key="split.path")
        key = next((name for name in ("image_id", "patient_id") if name in given), None)
        if key is None:
            raise Refusal(f"{origin} has neither image_id nor patient_id; it has {', '.join(given.columns)}")
        if "origin" in given:
            given = given[given["origin"] == ""]
        column = column.lower()
        pairs = given[[key, column]].drop_duplicates() if column in given else None
        if pairs is not None and pairs[key].duplicated().any():
            raise Refusal(f"{origin} puts {pairs[key][pairs[key].duplicated()].iloc[0]} in two splits")
        side = None if pairs is None else cohort[key].map(pairs.set_index(key)[column])
    if side is None:
        raise Refusal(f"{origin} has no column {column}: give split.column=<the column with train, val or test>")
    if not (known := side.isin(SPLITS)).all():
        words = side[~known].where(side[~known].notna(), "not in that file")
        odd = (cohort["image_id"][~known] + ": " + words).tolist()
        raise Refusal(
            f"{origin}: no {', '.join(SPLITS[:-1])} or {SPLITS[-1]} for {len(odd)} of {len(cohort)} images", odd
        )
    return side


def all_test(cohort: pd.DataFrame, *, class_names: Sequence[str] = ()) -> pd.Series:
    """Return test for each row: the network was trained on another cohort."""
    return pd.Series("test", index=cohort.index)


def _units(cohort: pd.DataFrame) -> str:
    """Return the unit of the counts: patients, or images if every patient has one or the patients are unknown."""
    return "patients" if cohort["patient_id"].duplicated().any() else "images"


def _of_each(counts: np.ndarray, class_names: Sequence[str]) -> str:
    return " and ".join(f"{count} {name}" for count, name in zip(counts, class_names, strict=True))

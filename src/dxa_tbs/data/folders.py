"""Builds the cohort table from class folders: one row per image, with its patient. Pixels are not read here."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dxa_tbs.data.cohort import ordered, pseudonym
from dxa_tbs.data.names import alike_in_form
from dxa_tbs.data.repeats import find_repeats
from dxa_tbs.errors import Refusal

log = logging.getLogger("dxa_tbs.data")

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".webp")
FILE = "file"  # dataset.patient_from=file: each image belongs to a different patient
GROUP = "patient"  # the group of an expression that holds the patient, if a group has this name


def read_folder(
    *,
    root: str,
    normal_folder: str,
    degraded_folder: str,
    patient_from: str | None = None,
    **_: object,
) -> pd.DataFrame:
    """Return the cohort of a folder that contains one folder of images per class.

    Args:
        normal_folder, degraded_folder: names of the folders below `root`.
        patient_from: a regular expression that finds the patient in a path, relative to the class folder. `file`: each
            image belongs to a different patient. None: the same, but names that look like repeats are refused.

    Raises:
        Refusal: a folder is missing or contains no image, or the patients of the images must be specified.
    """
    rows = []
    class_folders = {"normal_folder": normal_folder, "degraded_folder": degraded_folder}
    for label, (setting, name) in enumerate(class_folders.items()):
        folder = Path(root, name)
        key = f"dataset.{setting}={name}"
        if not folder.is_dir():
            there = ", ".join(sorted(path.name for path in _subfolders(Path(root)))) or "no folder"
            raise Refusal(f"{key}: {root} has no such folder; it holds {there}: name the right one")
        files = sorted(
            path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder))
        )
        images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            raise Refusal(f"{key}: no image in {folder} (looked for {', '.join(IMAGE_SUFFIXES)})")
        if others := set(files) - set(images):
            suffixes = sorted({path.suffix for path in others if re.fullmatch(r"\.\w{1,5}", path.suffix)})
            log.warning(
                "%s: %d files are not images and stay out (%s)", key, len(others), " ".join(suffixes) or "no suffix"
            )
        rows += [
            {
                "label": label,
                "source": path,
                "image_id": pseudonym(path.relative_to(root)),
                "name": path.relative_to(folder).as_posix(),
            }
            for path in images
        ]
    table = pd.DataFrame(rows)
    table["patient_id"], table["tbs"] = _patients(table, patient_from), np.nan
    return ordered(table.drop(columns="name"))


def _patients(table: pd.DataFrame, patient_from: str | None) -> pd.Series:
    """Return the patient_id of each image: a pseudonym that does not reveal file names.

    Args:
        table: with the columns image_id, label, source and name (the path relative to the class folder).
    """
    names = table["name"].tolist()
    if patient_from is not None and patient_from != FILE:
        patients = pd.Series(_patients_from_expression(names, patient_from), index=table.index)
        log.info("dataset.patient_from=%s: %d images of %d patients", patient_from, len(names), patients.nunique())
        apart = [group for group in find_repeats(table["label"].tolist(), names) if patients[group].nunique() > 1]
        if apart and patients.is_unique:
            raise Refusal(
                f"dataset.patient_from={patient_from}: finds a different patient in each of {len(names)} file names, "
                f"although {len(apart)} groups of names look like repeats of one subject: if that is right, give "
                f"dataset.patient_from={FILE}"
            )
        if apart:
            log.warning(
                "dataset.patient_from=%s finds different patients in names that look like repeats of one subject: "
                "%d groups",
                *(patient_from, len(apart)),
            )
        return patients.map(pseudonym)
    if patient_from is None:
        if alike := find_repeats(table["label"].tolist(), names):
            raise Refusal(
                f"dataset.patient_from: {sum(map(len, alike))} files have names that look like repeats of "
                f"{len(alike)} subjects: give an expression that finds the patient in a name, such as "
                f"dataset.patient_from='\"^([^_]+)\"', or dataset.patient_from={FILE} if each file is of a different "
                "patient",
                [" = ".join(str(path) for path in table["source"][group]) for group in alike],
            )
        log.warning(
            "it is not known which images belong to the same patient (dataset.patient_from): a patient with several "
            "images may be on two sides of the split"
        )
    return table["image_id"]


def _patients_from_expression(paths: Sequence[str], expression: str) -> list[str]:
    """Return the patient of each image: what the group `patient`, else the first group, captures in the first match.

    Args:
        paths: of the images, relative to their class folder, with / between the parts.

    Raises:
        Refusal: the expression is invalid, has no group, does not match some image, finds the same patient in all
            images, or finds patients that differ only in leading zeros, letter case or Unicode form.
    """
    key = f"dataset.patient_from={expression}"
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise Refusal(f"{key}: is not a regular expression ({error}): correct it, or give {FILE}") from None
    if not pattern.groups:
        raise Refusal(f"{key}: has no group: put parentheses around the part that names the patient, as in ^([^_]+)_")
    group = GROUP if GROUP in pattern.groupindex else 1
    found = [pattern.search(path) for path in paths]
    patients = [match[group] or "" if match else "" for match in found]
    if unmatched := [path for path, patient in zip(paths, patients, strict=True) if not patient]:
        raise Refusal(f"{key}: finds no patient in {len(unmatched)} of {len(paths)} file names: correct it", unmatched)
    if len(set(patients)) == 1 and len(paths) > 1:
        raise Refusal(f"{key}: finds the same patient in all {len(paths)} file names: correct it", paths)
    if alike := alike_in_form(patients):
        raise Refusal(
            f"{key}: {len(alike)} patients are written in several ways (leading zeros, letter case, Unicode form): "
            "rename the files, or correct it",
            [" = ".join(names) for names in alike],
        )
    return patients


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _subfolders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise Refusal(f"dataset.root={root} is not a folder: name the folder that contains the class folders")
    return [path for path in root.iterdir() if path.is_dir()]

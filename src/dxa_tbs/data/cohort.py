"""Builds the cohort from a table: one row per image. For class folders see `folders`. Pixels are not read here.

A cohort is a DataFrame sorted by image_id with the columns
    image_id               str, unique
    patient_id             str, shared by the images of one patient
    tbs                    float, NaN if unknown
    label                  0 Normal, 1 Degraded
    roi_x0 .. roi_y1       box around L1-L4 in pixels of the frame, if known
    source                 source of the frame: a Path, or the Candidate of a phantom
and the subgroup columns named in the configuration. Example:
    P0-000017, P0-000017, 1.243, 0, 104.2, 31.0, 178.5, 246.8, Candidate(seed=0, index=17, ...), 71.3, 24.9, phantom

File names may identify patients: an identifier made from a file name is therefore a hash.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dxa_tbs.config.choices import PLAUSIBLE_TBS, LabelSource
from dxa_tbs.data.cells import read_cells
from dxa_tbs.data.names import alike_in_form, damage
from dxa_tbs.errors import Refusal

log = logging.getLogger("dxa_tbs.data")

ROI_COLUMNS = ("roi_x0", "roi_y0", "roi_x1", "roi_y1")


def read_table(
    *,
    root: str,
    table: str,
    label_from: LabelSource,
    normal_label: str,
    degraded_label: str,
    label: Callable[[np.ndarray], np.ndarray],
    needs_tbs: bool,
    keep: Sequence[str],
) -> pd.DataFrame:
    """Return the cohort of a CSV file (comma, semicolon or tab; decimal point or comma; UTF-8).

    Args:
        root: the folder to which paths are relative.
        table: path of the file; needs the columns path, patient_id, and tbs or label; may have image_id and the ROI
            columns.
        label_from: see conf/dataset/table.yaml.
        normal_label, degraded_label: names of the classes in the label column.
        label: converts TBS to class; NaN for neither class.
        needs_tbs: whether the label rule needs the TBS, not only a label.
        keep: further columns to keep if the table has them, in lower case.

    Raises:
        Refusal: the file or a column is missing, or some rows cannot be used; all of them are listed.
    """
    csv, folder = Path(root, table), Path(os.path.normpath(root))
    cells = read_cells(csv, key="dataset.table")
    _require_columns(cells, csv, label_from, needs_tbs=needs_tbs)
    problems: list[str] = []

    def complain(rows: pd.Series, what: str | pd.Series) -> None:
        texts = what if isinstance(what, pd.Series) else pd.Series(what, index=cells.index)
        problems.extend(f"line {index + 2}: {texts[index]}" for index in cells.index[rows])

    sources = cells["path"].map(lambda path: Path(os.path.normpath(folder / path.replace("\\", "/"))))
    complain(cells["path"] == "", "path is empty")
    complain((cells["path"] != "") & ~sources.map(Path.is_file), cells["path"] + " does not exist")
    complain(sources.map(os.path.normcase).duplicated(keep=False), cells["path"] + " is listed more than once")
    complain(cells["patient_id"] == "", "patient_id is empty")
    for column in [name for name in ("patient_id", "image_id") if name in cells]:
        _complain_of_identifiers(cells[column], complain)

    cohort = pd.DataFrame({"patient_id": cells["patient_id"], "source": sources})
    if "image_id" in cells:
        cohort["image_id"] = cells["image_id"]
        complain(cells["image_id"] == "", "image_id is empty")
        complain((cells["image_id"] != "") & cells["image_id"].duplicated(keep=False), "image_id occurs more than once")
    else:
        cohort["image_id"] = sources.map(
            lambda path: pseudonym(path.relative_to(folder) if folder in path.parents else path)
        )
    cohort["tbs"] = _numbers(cells, "tbs", complain) if "tbs" in cells else np.nan
    complain(cohort["tbs"].notna() & ~cohort["tbs"].between(*PLAUSIBLE_TBS), "tbs is not a TBS (0.3 to 2.2)")
    cohort["label"] = _labels(cells, cohort["tbs"], label_from, (normal_label, degraded_label), label, complain)
    cohort = cohort.join(_rois(cells, complain))
    for column in [name for name in keep if name in cells]:
        cohort[column] = _numbers_or_text(cells[column])
    if problems:
        bad = len({line.split(":")[0] for line in problems})
        raise Refusal(f"{csv}: {bad} of {len(cells)} rows cannot be used: correct or remove them", problems)
    return leave_out_unlabelled(ordered(cohort))


def _complain_of_identifiers(ids: pd.Series, complain: Callable[[pd.Series, str | pd.Series], None]) -> None:
    """Complain of identifiers that a program has damaged, and of identifiers that differ only in their form."""
    damaged = ids.map(damage)
    complain(damaged.notna(), f"{ids.name} " + damaged.fillna(""))
    others = {one: [other for other in group if other != one] for group in alike_in_form(ids.unique()) for one in group}
    differs = ids.isin(others.keys())
    ways = ids[differs].map(lambda one: f"{one!a} here, {' or '.join(ascii(other) for other in others[one])} elsewhere")
    complain(differs, f"{ids.name} is written in several ways: " + ways.reindex(ids.index, fill_value=""))


def leave_out_unlabelled(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have a class under the label rule; log a warning that counts the others."""
    labelled = table["label"].notna()
    if not labelled.all():
        log.warning(
            "%d of %d images belong to neither class under labels.rule and stay out", (~labelled).sum(), len(table)
        )
    return table[labelled].astype({"label": int}).reset_index(drop=True)


def pseudonym(name: str | Path) -> str:
    """Return an identifier of 12 hex digits for a file or patient, which does not reveal the name."""
    text = name.as_posix() if isinstance(name, Path) else name
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return a cohort sorted by image_id."""
    return table.sort_values("image_id").reset_index(drop=True)


def _require_columns(cells: pd.DataFrame, csv: Path, label_from: LabelSource, *, needs_tbs: bool) -> None:
    needed = {"path", "patient_id"} | ({label_from.value} if label_from is not LabelSource.auto else set())
    needed |= {"tbs"} if needs_tbs else set()
    needed |= set(ROI_COLUMNS) if set(ROI_COLUMNS) & set(cells.columns) else set()
    lacking = sorted(needed - set(cells.columns))
    if not {"tbs", "label"} & set(cells.columns):
        lacking.append("tbs or label")
    if lacking:
        raise Refusal(f"{csv}: has no column {', '.join(lacking)}; it has {', '.join(cells.columns)}")


def _labels(
    cells: pd.DataFrame,
    tbs: pd.Series,
    label_from: LabelSource,
    names: Sequence[str],
    label: Callable[[np.ndarray], np.ndarray],
    complain: Callable[[pd.Series, str | pd.Series], None],
) -> pd.Series:
    """Return 0, 1 or NaN (neither class under the rule), and complain of rows whose label is missing or ambiguous."""
    named = cells.get("label", pd.Series("", index=cells.index))
    by_name = named.map({name: float(number) for number, name in enumerate(names)})
    is_optional = label_from is LabelSource.auto and "tbs" in cells
    if label_from is not LabelSource.tbs:
        is_bad = by_name.isna() & ((named != "") | (not is_optional))
        expected = f" is neither {names[0]} nor {names[1]} (dataset.normal_label, degraded_label)"
        complain(is_bad, "label '" + named + "'" + expected)
    if label_from is LabelSource.label or "tbs" not in cells:
        return by_name
    by_tbs = pd.Series(label(tbs.to_numpy()), index=tbs.index)
    complain(cells["tbs"] == "", "tbs is missing")
    if label_from is LabelSource.auto:
        differ = by_tbs.notna() & by_name.notna() & (by_name != by_tbs)
        complain(differ, "label and tbs disagree: give dataset.label_from=tbs or dataset.label_from=label")
    return by_tbs


def _rois(cells: pd.DataFrame, complain: Callable[[pd.Series, str], None]) -> pd.DataFrame:
    """Return the ROI columns, if the table has them."""
    if ROI_COLUMNS[0] not in cells:
        return pd.DataFrame(index=cells.index)
    rois = pd.DataFrame({column: _numbers(cells, column, complain) for column in ROI_COLUMNS})
    complain(rois.isna().any(axis=1) & rois.notna().any(axis=1), "its region is incomplete")
    if num_without := int(rois.isna().all(axis=1).sum()):
        log.warning("no region in %d of %d images: cropped around their centre", num_without, len(rois))
    return rois


def _numbers_or_text(text: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(text.str.replace(",", "."), errors="coerce")
    return text if (numbers.isna() & (text != "")).any() else numbers


def _numbers(cells: pd.DataFrame, column: str, complain: Callable[[pd.Series, str], None]) -> pd.Series:
    text = cells[column].str.replace(",", ".")
    numbers = pd.to_numeric(text, errors="coerce")
    complain(numbers.isna() & (text != ""), f"{column} is not a number")
    return numbers

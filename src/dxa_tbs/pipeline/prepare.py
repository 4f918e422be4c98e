"""From the settings of dataset, labels, split and augmentation to one table and its pixels."""

from __future__ import annotations

import dataclasses
import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dxa_tbs.config.choices import Fit, LabelRule, NearDuplicates, Region
from dxa_tbs.config.schema import (
    AugmentationConfig,
    DatasetConfig,
    ExternalSplitConfig,
    FileSplitConfig,
    FolderConfig,
    KFoldSplitConfig,
    LabelsConfig,
    PhantomConfig,
    SplitConfig,
    StratifiedSplitConfig,
    Table1SplitConfig,
    TableConfig,
)
from dxa_tbs.data import split as splitting
from dxa_tbs.data.audit import check_near_duplicates, check_pixels
from dxa_tbs.data.augment import plan_copies
from dxa_tbs.data.cohort import leave_out_unlabelled, read_table
from dxa_tbs.data.copies import load_with_copies
from dxa_tbs.data.folders import read_folder
from dxa_tbs.data.images import load_images
from dxa_tbs.data.labels import CLASS_NAMES, label_tbs
from dxa_tbs.data.measures import MEASURES
from dxa_tbs.data.phantom.cohort import SCANNER, phantom_cohort
from dxa_tbs.errors import Refusal

log = logging.getLogger("dxa_tbs.data")

USUAL_SUBGROUPS = ["age", "sex", "bmi", "scanner"]  # of conf/dataset/table.yaml: kept where the table has them
SPLIT_COLUMNS = ["image_id", "patient_id", "split", "label", "tbs", "origin", "sha256"]


@dataclass(frozen=True)
class Prepared:
    """Images and who they are of.

    Attributes:
        table: one row per image, copies last (split.csv).
        pixels: uint8 (N, 224, 224), in the same order.
        is_synthetic: whether any is a phantom's, also one that was exported and read back.
        bits: taken as in use of 16-bit files, if there were any.
        measures: of each original, image_id and `data.measures.MEASURES` (measures.csv).
        signatures: of each original, int8 (N, 512), see `data.likeness`.
    """

    table: pd.DataFrame
    pixels: np.ndarray
    is_synthetic: bool
    bits: int | None
    measures: pd.DataFrame
    signatures: np.ndarray


def read_cohort(dataset: DatasetConfig, labels: LabelsConfig, split: SplitConfig) -> pd.DataFrame:
    """Return who is in the cohort (columns: see `dxa_tbs.data.cohort`), without any pixels.

    Raises:
        Refusal: it cannot be read, or lacks a column of dataset.subgroups that was asked for.
    """
    cohort = _read_cohort(dataset, labels, split)
    lacking = [name for name in dataset.subgroups if name.lower() not in cohort]
    if lacking and not (isinstance(dataset, TableConfig) and dataset.subgroups == USUAL_SUBGROUPS):
        raise Refusal(
            f"dataset.subgroups={dataset.subgroups}: the cohort has no column {', '.join(lacking)}: drop what it lacks"
        )
    return cohort


def _read_cohort(dataset: DatasetConfig, labels: LabelsConfig, split: SplitConfig) -> pd.DataFrame:
    label = functools.partial(
        label_tbs, rule=labels.rule, degraded_max=labels.degraded_max_tbs, normal_min=labels.normal_min_tbs
    )
    if isinstance(dataset, PhantomConfig):
        return phantom_cohort(
            seed=dataset.seed,
            wanted=(dataset.num_normal, dataset.num_degraded),
            label=label,
            has_signal=dataset.has_signal,
            tbs_reader_sd=dataset.tbs_reader_sd,
            psf_cv=dataset.psf_cv,
            thickness_sd_cm=dataset.thickness_sd_cm,
        )
    if isinstance(dataset, FolderConfig):
        folders = dataset.normal_folder, dataset.degraded_folder
        return read_folder(Path(dataset.root), class_folders=folders, patient_from=dataset.patient_from)
    assert isinstance(dataset, TableConfig)
    split_column = [split.column] if isinstance(split, FileSplitConfig) and split.path is None else []
    columns = [name.lower() for name in (*dataset.subgroups, *split_column, "scanner")]
    table = read_table(
        Path(dataset.root, dataset.table),
        root=Path(dataset.root),
        label_from=dataset.label_from,
        label_names=(dataset.normal_label, dataset.degraded_label),
        label=label,
        needs_tbs=labels.rule is LabelRule.extremes,
        keep=list(dict.fromkeys(columns)),
    )
    return leave_out_unlabelled(table)


def split_cohort(cohort: pd.DataFrame, split: SplitConfig) -> pd.Series:
    """Return train, val or test for each row of the cohort."""
    if isinstance(split, Table1SplitConfig):
        counts = {name: (getattr(split, name).normal, getattr(split, name).degraded) for name in splitting.SPLITS}
        return splitting.split_by_counts(cohort, counts, seed=split.seed)
    if isinstance(split, StratifiedSplitConfig):
        fractions = {"val_fraction": split.val_fraction, "test_fraction": split.test_fraction}
        return splitting.split_by_fractions(cohort, **fractions, seed=split.seed)
    if isinstance(split, KFoldSplitConfig):
        return splitting.split_by_fold(
            cohort, folds=split.folds, fold=split.fold, val_fraction=split.val_fraction, seed=split.seed
        )
    if isinstance(split, FileSplitConfig):
        return splitting.split_from_file(cohort, Path(split.path) if split.path else None, column=split.column)
    assert isinstance(split, ExternalSplitConfig)
    return pd.Series("test", index=cohort.index)


def prepare_images(
    cohort: pd.DataFrame,
    *,
    fit: Fit,
    region: Region,
    bits: int | None,
    subgroups: list[str],
    near_duplicates: NearDuplicates,
    cache_dir: Path,
) -> Prepared:
    """Return the originals of a cohort that has the columns split and source_sha256.

    Raises:
        Refusal: an image cannot be used, or is there twice, or nearly so, on two sides.
    """
    sources = list(cohort["source_sha256"])
    images = load_images(cohort, sources, fit=fit, region=region, bits=bits, cache_dir=cache_dir)
    table = cohort.assign(origin="", sha256=images.sha256)
    check_pixels(table)
    check_near_duplicates(table, images.signatures, refuses=near_duplicates is NearDuplicates.refuse)
    is_synthetic = "scanner" in table and bool((table["scanner"] == SCANNER).any())
    columns = SPLIT_COLUMNS + [name.lower() for name in subgroups if name.lower() in table]
    measures = images.measures.round(6).assign(image_id=table["image_id"])[["image_id", *MEASURES]]
    return Prepared(table[columns], images.pixels, is_synthetic, images.bits, measures, images.signatures)


def with_copies(data: Prepared, how: AugmentationConfig, *, seed: int, cache_dir: Path) -> Prepared:
    """Return the originals and, behind them, the augmented copies of train and val."""
    plan = plan_copies(data.table, per_normal=how.copies_per_normal, per_degraded=how.copies_per_degraded, seed=seed)
    if plan.empty:
        return data
    if how.copies_per_normal != how.copies_per_degraded and how.max_rotation_deg > 0:
        log.warning(
            "augmentation=%s interpolates %.0f %% of the Degraded and %.0f %% of the Normal training images: a network "
            "can learn the interpolation instead of the bone; augmentation=balanced treats the classes alike",
            *(how.name, *(100 * share / (1 + share) for share in (how.copies_per_degraded, how.copies_per_normal))),
        )
    originals = data.table["sha256"].tolist()
    pixels, sha256 = load_with_copies(data.pixels, originals, plan, how, seed=seed, cache_dir=cache_dir)
    table = pd.concat([data.table, plan.assign(sha256=sha256)], ignore_index=True)
    return dataclasses.replace(data, table=table, pixels=pixels)


def count_images(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return the rows of Table I: of each split, the originals and the copies of each class."""
    counts = {}
    for split in splitting.SPLITS:
        part = table[table["split"] == split]
        is_copy = part["origin"] != ""
        counts[split] = {
            f"{name.lower()}_{kind}": int(((part["label"] == label) & chosen).sum())
            for kind, chosen in (("original", ~is_copy), ("augmented", is_copy))
            for label, name in enumerate(CLASS_NAMES)
        }
    return counts

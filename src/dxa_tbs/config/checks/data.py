"""Checks of the sections dataset, labels and split."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dxa_tbs.config.checks.ranges import MAX_SEED, outside
from dxa_tbs.config.choices import PLAUSIBLE_TBS, LabelRule, LabelSource
from dxa_tbs.config.schema import (
    Config,
    FolderConfig,
    KFoldSplitConfig,
    PhantomConfig,
    StratifiedSplitConfig,
    Table1SplitConfig,
    TableConfig,
)

RESERVED = {  # columns of the cohort, of a run's files and of the report's tables: no subgroup may have these names
    *("image_id", "patient_id", "path", "source", "tbs", "label", "split", "origin", "sha256", "source_sha256"),
    *("roi_x0", "roi_y0", "roi_x1", "roi_y1"),
    *("grey", "variogram_slope", "vertebrae_grey", "background_grey", "background_slope"),
    *("score", "tempered", "threshold", "call", "fold", "distance", "kind", "place", "file"),
    *("dataset", "run", "patients", "images", "degraded"),
}
CLASSES = ("normal", "degraded")


def dataset_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of the dataset and its labels that cannot be used."""
    dataset, labels = config.dataset, config.labels
    if labels.rule is LabelRule.extremes and labels.normal_min_tbs <= labels.degraded_max_tbs:
        yield f"labels.normal_min_tbs={labels.normal_min_tbs}: must be above degraded_max_tbs={labels.degraded_max_tbs}"
    yield from outside("labels.degraded_max_tbs", labels.degraded_max_tbs, *PLAUSIBLE_TBS)
    by_name = isinstance(dataset, FolderConfig) or getattr(dataset, "label_from", None) is LabelSource.label
    if labels.rule is LabelRule.extremes and by_name:
        yield "labels.rule=extremes: needs the TBS of every image: use dataset=table with a tbs column"
    if labels.permuted_seed is not None:
        yield from outside("labels.permuted_seed", labels.permuted_seed, 0, MAX_SEED)
    named = [name.lower() for name in dataset.subgroups]
    if len(set(named)) < len(named):
        yield f"dataset.subgroups={dataset.subgroups}: names a column twice: name it once"
    if isinstance(dataset, FolderConfig) and named:
        yield f"dataset.subgroups={dataset.subgroups}: class folders have no columns: drop it, or use dataset=table"
    if reserved := RESERVED & set(named):
        yield (
            f"dataset.subgroups={dataset.subgroups}: {min(reserved)} is a reserved column of the results: rename the "
            "column in your table, or drop it here"
        )
    for key, text in (("name", config.name), ("dataset.name", dataset.name), ("model.name", config.model.name)):
        if not re.fullmatch(r"\w[\w.-]*", text):
            yield f"{key}={text}: is used as a folder name: use letters, digits, . - and _"
    if isinstance(dataset, FolderConfig | TableConfig):
        if not dataset.root.strip():
            yield "dataset.root is empty: give dataset.root=<folder of the images>"
        elif not Path(dataset.root).is_dir():
            yield f"dataset.root={dataset.root}: no such folder: give the folder of the images"
        if dataset.bits is not None:
            yield from outside("dataset.bits", dataset.bits, 8, 16)
    if isinstance(dataset, FolderConfig):
        for key in ("normal_folder", "degraded_folder"):
            folder = Path(getattr(dataset, key))
            if folder.is_absolute() or ".." in folder.parts or folder == Path():
                yield f"dataset.{key}={folder}: must be the name of a folder inside dataset.root"
        if Path(dataset.normal_folder) == Path(dataset.degraded_folder):
            yield f"dataset.normal_folder={dataset.normal_folder}: is also dataset.degraded_folder: name two folders"
    if isinstance(dataset, PhantomConfig):
        yield from outside("dataset.seed", dataset.seed, 0, MAX_SEED)
        for key in ("num_normal", "num_degraded", "tbs_reader_sd", "psf_cv", "thickness_sd_cm"):
            yield from outside(f"dataset.{key}", getattr(dataset, key), 0)


def split_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of the split that cannot be used."""
    split = config.split
    if isinstance(split, Table1SplitConfig | StratifiedSplitConfig | KFoldSplitConfig):
        yield from outside("split.seed", split.seed, 0, MAX_SEED)
    if isinstance(split, KFoldSplitConfig):
        yield from outside("split.folds", split.folds, 2)
        yield from outside("split.fold", split.fold, 0, split.folds - 1)
        if not 0 < split.val_fraction < 1:
            yield f"split.val_fraction={split.val_fraction}: must be between 0 and 1"
    if isinstance(split, StratifiedSplitConfig):
        shares = split.val_fraction, split.test_fraction
        if min(shares) <= 0 or sum(shares) >= 1:
            yield f"split.val_fraction={shares[0]}, split.test_fraction={shares[1]}: must be above 0, their sum below 1"
    if isinstance(split, Table1SplitConfig) and isinstance(config.dataset, PhantomConfig):
        wanted = tuple(sum(getattr(part, name) for part in (split.train, split.val, split.test)) for name in CLASSES)
        given = config.dataset.num_normal, config.dataset.num_degraded
        if given != wanted:
            yield (
                f"dataset.num_normal={given[0]}, num_degraded={given[1]}: split=table1 needs exactly {wanted[0]} and "
                f"{wanted[1]}: use split=stratified"
            )
    if split.name == "external" and config.evaluate is None:
        yield "split=external leaves no image to train on: use it with evaluate=<folder of a finished run>"

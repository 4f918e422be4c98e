"""Build the table of the cohort from the configuration: its images, their split, and hashes of their sources."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dxa_tbs.config.choices import LabelRule
from dxa_tbs.config.kinds import function_of, own_settings
from dxa_tbs.config.schema import Config, DatasetConfig, FileSplitConfig, LabelsConfig, SplitConfig, TableConfig
from dxa_tbs.data.audit import check_split
from dxa_tbs.data.images import hash_sources
from dxa_tbs.data.labels import label_tbs, permute_labels
from dxa_tbs.data.split import SPLITS
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_table
from dxa_tbs.pipeline.task import build_task, check_targets

# The default of conf/dataset/table.yaml, of which columns that the table lacks are ignored.
USUAL_SUBGROUPS = ["age", "sex", "bmi", "scanner"]


@dataclass(frozen=True)
class Cohort:
    """The images of a study, their split, and hashes of both.

    Attributes:
        table: one row per image, see `dxa_tbs.data.cohort`; also has the columns split and source_sha256.
        cohort_sha256: hash of the table without the split; the same for every fold.
        data_sha256: hash of the table with the split.
    """

    table: pd.DataFrame
    cohort_sha256: str
    data_sha256: str


def gather_cohort(config: Config, *, needed: Sequence[str] = SPLITS) -> Cohort:
    """Read and split the cohort, and check that each split has images of every class. No pixels are decoded.

    Args:
        needed: the splits that must contain every class.

    Raises:
        Refusal: the table, the files or the split cannot be used.
    """
    task = build_task(config)
    table = read_cohort(config.dataset, config.labels, config.split)
    table["source_sha256"] = hash_sources(table)
    cohort_sha256 = sha256_of_table(table.drop(columns=["source"]))
    check_targets(table, task)
    table["split"] = split_cohort(table, config.split, task.class_names)
    if config.labels.permuted_seed is not None:
        table = permute_labels(table, seed=config.labels.permuted_seed)
        check_targets(table, task)  # a permuted cohort has no TBS
    check_split(table, class_names=task.class_names, needed=needed)
    return Cohort(table, cohort_sha256, sha256_of_table(table.drop(columns=["source"])))


def read_cohort(dataset: DatasetConfig, labels: LabelsConfig, split: SplitConfig) -> pd.DataFrame:
    """Return the table of the cohort (for its columns see `dxa_tbs.data.cohort`).

    Raises:
        Refusal: the cohort cannot be read, or lacks a column named in dataset.subgroups.
    """
    label = functools.partial(
        label_tbs, rule=labels.rule, degraded_max=labels.degraded_max_tbs, normal_min=labels.normal_min_tbs
    )
    split_column = [split.column] if isinstance(split, FileSplitConfig) and split.path is None else []
    keep = dict.fromkeys(name.lower() for name in (*dataset.subgroups, *split_column, "scanner"))
    read = function_of("dataset", dataset)
    needs_tbs = labels.rule is LabelRule.extremes
    cohort: pd.DataFrame = read(label=label, needs_tbs=needs_tbs, keep=list(keep), **own_settings(dataset))
    lacking = [name for name in dataset.subgroups if name.lower() not in cohort]
    if lacking and not (isinstance(dataset, TableConfig) and dataset.subgroups == USUAL_SUBGROUPS):
        raise Refusal(f"dataset.subgroups={dataset.subgroups}: the cohort has no column {', '.join(lacking)}: drop it")
    return cohort


def split_cohort(cohort: pd.DataFrame, split: SplitConfig, class_names: Sequence[str]) -> pd.Series:
    """Return train, val or test for each row of the cohort."""
    sides: pd.Series = function_of("split", split)(cohort, class_names=class_names, **own_settings(split))
    return sides

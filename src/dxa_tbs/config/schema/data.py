"""The sections dataset, split, labels and preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from dxa_tbs.config.choices import Fit, LabelRule, LabelSource, NearDuplicates, Region


@dataclass
class DatasetConfig:
    name: str = MISSING
    subgroups: list[str] = MISSING
    near_duplicates: NearDuplicates = MISSING


@dataclass
class PhantomConfig(DatasetConfig):
    seed: int = MISSING
    num_normal: int = MISSING
    num_degraded: int = MISSING
    has_signal: bool = MISSING
    tbs_reader_sd: float = MISSING
    psf_cv: float = MISSING
    thickness_sd_cm: float = MISSING


@dataclass
class FilesConfig(DatasetConfig):
    """A dataset of image files."""

    bits: int | None = MISSING


@dataclass
class FolderConfig(FilesConfig):
    root: str = MISSING
    normal_folder: str = MISSING
    degraded_folder: str = MISSING
    patient_from: str | None = MISSING


@dataclass
class TableConfig(FilesConfig):
    root: str = MISSING
    table: str = MISSING
    label_from: LabelSource = MISSING
    normal_label: str = MISSING
    degraded_label: str = MISSING


@dataclass
class SplitConfig:
    name: str = MISSING


@dataclass
class ClassCounts:
    normal: int = MISSING
    degraded: int = MISSING


@dataclass
class Table1SplitConfig(SplitConfig):
    seed: int = MISSING
    train: ClassCounts = MISSING
    val: ClassCounts = MISSING
    test: ClassCounts = MISSING


@dataclass
class StratifiedSplitConfig(SplitConfig):
    seed: int = MISSING
    val_fraction: float = MISSING
    test_fraction: float = MISSING


@dataclass
class KFoldSplitConfig(SplitConfig):
    seed: int = MISSING
    folds: int = MISSING
    fold: int = MISSING
    val_fraction: float = MISSING


@dataclass
class FileSplitConfig(SplitConfig):
    path: str | None = MISSING
    column: str = MISSING


@dataclass
class ExternalSplitConfig(SplitConfig):
    pass


@dataclass
class LabelsConfig:
    rule: LabelRule = MISSING
    degraded_max_tbs: float = MISSING
    normal_min_tbs: float = MISSING
    permuted_seed: int | None = MISSING


@dataclass
class PreprocessingConfig:
    fit: Fit = MISSING
    region: Region = MISSING
    size_px: int = MISSING

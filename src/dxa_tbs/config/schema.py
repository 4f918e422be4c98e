"""The schema of the configuration, and the folder of its YAML files. For values see conf/, for checks `checks`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from dxa_tbs.config.choices import (
    Architecture,
    Fit,
    FrozenBatchNorm,
    Interpolation,
    LabelRule,
    LabelSource,
    NearDuplicates,
    Precision,
    Region,
    TestEpoch,
    Watched,
)


@dataclass
class ModelConfig:
    name: str = MISSING
    weights: str = MISSING
    input_mean: list[float] = MISSING
    input_std: list[float] = MISSING


@dataclass
class AdhocConfig(ModelConfig):
    filters: list[int] = MISSING
    fc_widths: list[int] = MISSING


@dataclass
class PretrainedConfig(ModelConfig):
    architecture: Architecture = MISSING
    dropout: float = MISSING
    backbone_dropout: float = MISSING


@dataclass
class ApproachConfig:
    name: str = MISSING


@dataclass
class WholeNetworkConfig(ApproachConfig):
    """All weights are trained: approaches adhoc and full."""


@dataclass
class HeadConfig(ApproachConfig):
    frozen_bn: FrozenBatchNorm = MISSING
    cache_features: bool = MISSING


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
class AugmentationConfig:
    name: str = MISSING
    copies_per_normal: float = MISSING
    copies_per_degraded: float = MISSING
    flip_probability: float = MISSING
    max_rotation_deg: float = MISSING
    min_brightness_change: float = MISSING
    max_brightness_change: float = MISSING
    interpolation: Interpolation = MISSING


@dataclass
class OptimizerConfig:
    name: str = MISSING
    lr: float = MISSING


@dataclass
class SgdConfig(OptimizerConfig):
    weight_decay: float = MISSING
    momentum: float = MISSING


@dataclass
class AdamWConfig(OptimizerConfig):
    weight_decay: float = MISSING


@dataclass
class TaskConfig:
    name: str = MISSING


@dataclass
class BinaryTaskConfig(TaskConfig):
    pass


@dataclass
class LossConfig:
    name: str = MISSING


@dataclass
class CrossEntropyConfig(LossConfig):
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


@dataclass
class TrainerConfig:
    epochs: int = MISSING
    patience: int | None = MISSING
    batch_size: int = MISSING
    micro_batch_size: int | None = MISSING
    test_epoch: TestEpoch = MISSING
    watched: Watched = MISSING
    device: str = MISSING
    precision: Precision = MISSING


@dataclass
class EvaluationConfig:
    threshold: float = MISSING
    shown_errors: int = MISSING


@dataclass
class Config:
    name: str = MISSING
    seed: int = MISSING
    evaluate: str | None = MISSING
    output_root: str = MISSING
    cache_dir: str = MISSING
    task: TaskConfig = MISSING
    loss: LossConfig = MISSING
    model: ModelConfig = MISSING
    approach: ApproachConfig = MISSING
    dataset: DatasetConfig = MISSING
    split: SplitConfig = MISSING
    augmentation: AugmentationConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    labels: LabelsConfig = MISSING
    preprocessing: PreprocessingConfig = MISSING
    trainer: TrainerConfig = MISSING
    evaluation: EvaluationConfig = MISSING


def conf_dir() -> Path:
    """Return the folder conf/: inside the package if installed, at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parents[1] / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise FileNotFoundError("dxa_tbs: no conf/config.yaml inside the package or at the top of the checkout")

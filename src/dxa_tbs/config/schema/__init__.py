"""The schema of the configuration, and the folder of its YAML files. For values see conf/, for checks `checks`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from dxa_tbs.config.schema.augmentation import (
    AugmentationConfig,
    BlurConfig,
    BrightnessConfig,
    ContrastConfig,
    FlipConfig,
    NoiseConfig,
    OperationConfig,
    RotateConfig,
    ShiftConfig,
    ZoomConfig,
)
from dxa_tbs.config.schema.channels import ChannelsConfig, GreyChannelsConfig, TextureChannelsConfig
from dxa_tbs.config.schema.data import (
    ClassCounts,
    DatasetConfig,
    ExternalSplitConfig,
    FilesConfig,
    FileSplitConfig,
    FolderConfig,
    KFoldSplitConfig,
    LabelsConfig,
    PhantomConfig,
    PreprocessingConfig,
    SplitConfig,
    StratifiedSplitConfig,
    Table1SplitConfig,
    TableConfig,
)
from dxa_tbs.config.schema.loss import CrossEntropyConfig, CustomLossConfig, FocalConfig, LossConfig, WeightedConfig
from dxa_tbs.config.schema.model import (
    AdhocConfig,
    ApproachConfig,
    CustomConfig,
    HeadConfig,
    ModelConfig,
    PretrainedConfig,
    TimmConfig,
    TorchvisionConfig,
    WholeNetworkConfig,
)
from dxa_tbs.config.schema.sampling import BalancedSamplingConfig, SamplingConfig, ShuffleConfig
from dxa_tbs.config.schema.schedule import (
    ConstantConfig,
    CosineConfig,
    CustomScheduleConfig,
    PlateauConfig,
    ScheduleConfig,
)
from dxa_tbs.config.schema.tracker import (
    MlflowConfig,
    NoTrackerConfig,
    TensorBoardConfig,
    TrackerConfig,
    WandbConfig,
)
from dxa_tbs.config.schema.training import (
    AdamWConfig,
    BinaryTaskConfig,
    CustomOptimizerConfig,
    OptimizerConfig,
    SgdConfig,
    TaskConfig,
    TrainerConfig,
)

__all__ = [
    "AdamWConfig",
    "AdhocConfig",
    "ApproachConfig",
    "AugmentationConfig",
    "BalancedSamplingConfig",
    "BinaryTaskConfig",
    "BlurConfig",
    "BrightnessConfig",
    "ChannelsConfig",
    "ClassCounts",
    "Config",
    "ConstantConfig",
    "ContrastConfig",
    "CosineConfig",
    "CrossEntropyConfig",
    "CustomConfig",
    "CustomLossConfig",
    "CustomOptimizerConfig",
    "CustomScheduleConfig",
    "DatasetConfig",
    "EvaluationConfig",
    "ExternalSplitConfig",
    "FileSplitConfig",
    "FilesConfig",
    "FlipConfig",
    "FocalConfig",
    "FolderConfig",
    "GreyChannelsConfig",
    "HeadConfig",
    "KFoldSplitConfig",
    "LabelsConfig",
    "LossConfig",
    "MlflowConfig",
    "ModelConfig",
    "NoTrackerConfig",
    "NoiseConfig",
    "OperationConfig",
    "OptimizerConfig",
    "PhantomConfig",
    "PlateauConfig",
    "PreprocessingConfig",
    "PretrainedConfig",
    "RotateConfig",
    "SamplingConfig",
    "ScheduleConfig",
    "SgdConfig",
    "ShiftConfig",
    "ShuffleConfig",
    "SplitConfig",
    "StratifiedSplitConfig",
    "Table1SplitConfig",
    "TableConfig",
    "TaskConfig",
    "TensorBoardConfig",
    "TextureChannelsConfig",
    "TimmConfig",
    "TorchvisionConfig",
    "TrackerConfig",
    "TrainerConfig",
    "WandbConfig",
    "WeightedConfig",
    "WholeNetworkConfig",
    "ZoomConfig",
    "conf_dir",
]


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
    sampling: SamplingConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    schedule: ScheduleConfig = MISSING
    labels: LabelsConfig = MISSING
    preprocessing: PreprocessingConfig = MISSING
    channels: ChannelsConfig = MISSING
    trainer: TrainerConfig = MISSING
    evaluation: EvaluationConfig = MISSING
    tracker: TrackerConfig = MISSING


def conf_dir() -> Path:
    """Return the folder conf/: inside the package if installed, at the top of a checkout."""
    package = Path(__file__).resolve().parents[2]
    for candidate in (package / "conf", package.parents[1] / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise FileNotFoundError("dxa_tbs: no conf/config.yaml inside the package or at the top of the checkout")

"""The schema of the configuration and where its YAML lies; the values are in conf/, checks across them in checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from dxa_tbs.errors import Refusal

PLAUSIBLE_TBS = (0.3, 2.2)  # NHANES 2007-08, single vertebrae: 0.65 to 1.78


class LabelRule(Enum):
    binary = "binary"
    extremes = "extremes"
    three_class = "three_class"


class LabelSource(Enum):
    auto = "auto"
    tbs = "tbs"
    label = "label"


class Fit(Enum):
    crop = "crop"
    resize = "resize"


class Interpolation(Enum):
    bilinear = "bilinear"
    bicubic = "bicubic"


class TestEpoch(Enum):
    __test__ = False  # not a test case, whatever its name says to pytest

    best = "best"
    last = "last"


@dataclass
class ModelConfig:
    name: str = MISSING
    input_mean: list[float] = MISSING
    input_std: list[float] = MISSING


@dataclass
class AdhocConfig(ModelConfig):
    filters: list[int] = MISSING
    fc_widths: list[int] = MISSING


@dataclass
class ApproachConfig:
    name: str = MISSING


@dataclass
class DatasetConfig:
    name: str = MISSING
    subgroups: list[str] = MISSING


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
class FolderConfig(DatasetConfig):
    root: str = MISSING
    normal_folder: str = MISSING
    degraded_folder: str = MISSING
    bits: int | None = MISSING


@dataclass
class TableConfig(DatasetConfig):
    root: str = MISSING
    table: str = MISSING
    label_from: LabelSource = MISSING
    normal_label: str = MISSING
    degraded_label: str = MISSING
    bits: int | None = MISSING


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
    weight_decay: float = MISSING


@dataclass
class SgdConfig(OptimizerConfig):
    momentum: float = MISSING


@dataclass
class AdamWConfig(OptimizerConfig):
    pass


@dataclass
class LabelsConfig:
    rule: LabelRule = MISSING
    degraded_max_tbs: float = MISSING
    normal_min_tbs: float = MISSING


@dataclass
class PreprocessingConfig:
    fit: Fit = MISSING


@dataclass
class TrainerConfig:
    epochs: int = MISSING
    patience: int | None = MISSING
    batch_size: int = MISSING
    test_epoch: TestEpoch = MISSING
    device: str = MISSING


@dataclass
class EvaluationConfig:
    threshold: float = MISSING


@dataclass
class Config:
    name: str = MISSING
    seed: int = MISSING
    evaluate: str | None = MISSING
    output_root: str = MISSING
    cache_dir: str = MISSING
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


SCHEMAS: dict[str, dict[str, type]] = {
    "model": {"adhoc": AdhocConfig},
    "dataset": {"phantom": PhantomConfig, "folder": FolderConfig, "table": TableConfig},
    "split": {
        "table1": Table1SplitConfig,
        "stratified": StratifiedSplitConfig,
        "file": FileSplitConfig,
        "external": ExternalSplitConfig,
    },
    "optimizer": {"sgd": SgdConfig, "adamw": AdamWConfig},
}


def register_schemas() -> None:
    """Make the schemas known to Hydra; a YAML file of a group with several kinds names its own."""
    store = ConfigStore.instance()
    store.store(name="base_schema", node=Config)
    for group, kinds in SCHEMAS.items():
        for kind, schema in kinds.items():
            store.store(group=f"schema/{group}", name=kind, node=schema)


def conf_dir() -> Path:
    """Return where conf/ lies: inside an installed wheel, at the top of a checkout."""
    here = Path(__file__).resolve().parent
    for candidate in (here / "conf", here.parents[1] / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise FileNotFoundError("dxa_tbs: no conf/config.yaml beside the package or at the top of the checkout")


def load_config(cfg: DictConfig) -> Config:
    """Return the composed configuration as plain dataclasses.

    Raises:
        Refusal: a key is in no schema (+key=value adds it without a word), or a value is not set.
    """
    if unknown := list(_unknown_keys(cfg)):
        raise Refusal(f"{unknown[0]} is no setting: drop it (a + before a key adds one, and there is none to add)")
    missing = sorted(OmegaConf.missing_keys(cfg))
    config = None if missing else OmegaConf.to_object(cfg)
    if isinstance(config, Config):
        missing = list(_keys_without_value(to_plain(config)))  # a key that ~key took away
    if missing:
        raise Refusal(f"{missing[0]} is not set: give {missing[0]}=<value>")
    assert isinstance(config, Config)
    return config


def to_plain(config: Config) -> dict[str, Any]:
    """Return the configuration as dicts, lists, strings and numbers, as config.yaml holds it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value.value if isinstance(value, Enum) else value

    plain_config: dict[str, Any] = plain(dataclasses.asdict(config))
    return plain_config


def take_over_training(cfg: DictConfig, trained: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Replace, in a configuration that evaluates a finished run, all that was not typed by what the run had.

    Another dataset than the run's is external validation: all of its images are test images, unless a split is typed.

    Args:
        cfg: changed in place.
        trained: config.yaml of the run.
        overrides: what the user typed.

    Raises:
        Refusal: the user typed something that the weights have decided, or a part of a group without its option.
    """
    typed = {text.lstrip("+~").split("=")[0] for text in overrides}
    decided = ("seed", "model", "approach", "augmentation", "optimizer", "preprocessing", "trainer")
    for key in sorted(typed - {"trainer.device"}):
        group = key.split(".")[0]
        if group in (*decided, "recipe", "experiment"):
            raise Refusal(f"{key}: with evaluate=<run> the run has decided it: drop it")
        if group in ("dataset", "split") and group not in typed:
            raise Refusal(f"{key}: with evaluate=<run> the run's own {group} is taken: give {group}=<option> as well")
    device = cfg.trainer.device
    for section in decided:
        cfg[section] = _typed(section, trained[section])
    cfg.trainer.device = device
    if "split" not in typed:
        cfg.split = _typed("split", {"name": "external"} if "dataset" in typed else trained["split"])
    if "dataset" not in typed:
        cfg.dataset = _typed("dataset", trained["dataset"])
    for section in ("labels", "evaluation"):
        for key, value in trained[section].items():
            if f"{section}.{key}" not in typed:
                cfg[section][key] = value


def _typed(section: str, values: Any) -> Any:
    """Return the values of a section as a node of the schema whose fields they have."""
    if not isinstance(values, Mapping):
        return values
    schemas = SCHEMAS.get(section, {}).values() or [get_type_hints(Config)[section]]
    schema = next(kind for kind in schemas if {field.name for field in dataclasses.fields(kind)} == set(values))
    return OmegaConf.merge(OmegaConf.structured(schema), values)


def _unknown_keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    kind = OmegaConf.get_type(cfg)
    known = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else None
    for key in map(str, cfg):
        if known is not None and key not in known:
            yield prefix + key
        elif not OmegaConf.is_missing(cfg, key) and isinstance(cfg[key], DictConfig):
            yield from _unknown_keys(cfg[key], f"{prefix}{key}.")


def _keys_without_value(plain: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from _keys_without_value(value, f"{prefix}{key}.")
        elif value == MISSING:
            yield prefix + key

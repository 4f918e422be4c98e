"""Checks of the configuration that types cannot express: ranges, and settings that exclude each other."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dxa_tbs.config.choices import PLAUSIBLE_TBS, Architecture, FrozenBatchNorm, LabelRule, LabelSource
from dxa_tbs.config.kinds import kind_of
from dxa_tbs.config.schema import (
    AdhocConfig,
    Config,
    FolderConfig,
    HeadConfig,
    KFoldSplitConfig,
    PhantomConfig,
    PretrainedConfig,
    StratifiedSplitConfig,
    Table1SplitConfig,
    TableConfig,
)
from dxa_tbs.errors import Refusal

RESERVED = {  # columns of the cohort, of a run's files and of the report's tables: no subgroup may have these names
    *("image_id", "patient_id", "path", "source", "tbs", "label", "split", "origin", "sha256", "source_sha256"),
    *("roi_x0", "roi_y0", "roi_x1", "roi_y1"),
    *("grey", "variogram_slope", "vertebrae_grey", "background_grey", "background_slope"),
    *("score", "tempered", "threshold", "call", "fold", "distance", "kind", "place", "file"),
    *("dataset", "run", "patients", "images", "degraded"),
}
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
MAX_SEED = 2**32 - 1
CLASSES = ("normal", "degraded")
HAVE_DROPOUT = {Architecture.alexnet, Architecture.vgg16}  # in the backbone, not only before the last layer
MAX_BLOCKS = 6  # each block turns n pixels into (n - 2) / 2, starting from 224


def check_config(config: Config) -> None:
    """Refuse a configuration that cannot run, before any data is read.

    Raises:
        Refusal: a value is wrong; the message names the first such key, its value and the way out.
    """
    problem = next(_problems(config), None)
    if problem is not None:
        raise Refusal(problem)


def check_names(names: Mapping[str, str | None], choices: Mapping[str, str]) -> None:
    """Refuse a group whose `name` differs from the chosen option: folders and tables use this name.

    Args:
        names: the name in the settings of each group; None if they have no name.
        choices: the chosen option of each group.

    Raises:
        Refusal: the name is missing or differs; the message names the group, the name and the option.
    """
    for group, name in names.items():
        option = choices[group]
        if name is None:
            raise Refusal(f"{group}.name is not set by {group}={option}: add name: {option} to your own file")
        if name != option:
            raise Refusal(
                f"{group}.name={name}: must equal the option {group}={option}: write name: {option} in your own file"
            )


def _problems(config: Config) -> Iterator[str]:
    yield from _not_finite(dataclasses.asdict(config))
    yield from _model_problems(config)
    yield from _training_problems(config)
    yield from _dataset_problems(config)
    yield from _split_problems(config)
    yield from _augmentation_problems(config)


def _not_finite(value: Any, key: str = "") -> Iterator[str]:
    """Yield a line for each value that is or contains an infinite number or NaN."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _not_finite(part, f"{key}.{name}" if key else str(name))
        return
    numbers = value if isinstance(value, list) else [value]
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        yield f"{key}={value}: must be finite: give a number"


def _model_problems(config: Config) -> Iterator[str]:
    model, approach = config.model, config.approach
    if isinstance(model, AdhocConfig) and approach.name != "adhoc":
        yield f"approach={approach.name}: retrains an ImageNet network, which {model.name} is not: use approach=adhoc"
    elif isinstance(approach, HeadConfig) and not isinstance(model, PretrainedConfig):
        yield f"approach={approach.name}: retrains the last layer of an ImageNet network, which {model.name} is not"
    if isinstance(model, PretrainedConfig) and approach.name == "adhoc":
        yield f"model={model.name}: is an ImageNet network: use approach=full or approach=head"
    for key in ("input_mean", "input_std"):
        if len(getattr(model, key)) != 3:
            yield f"model.{key}={getattr(model, key)}: needs three values, one per channel"
    if min(model.input_std) <= 0:
        yield f"model.input_std={model.input_std}: must be above 0, because each channel is divided by it"
    if not kind_of("model", model).load_weights and model.weights != "none":
        yield f"model.weights={model.weights}: {model.name} is trained from scratch: drop it"
    if isinstance(model, AdhocConfig):
        if not 1 <= len(model.filters) <= MAX_BLOCKS:
            yield f"model.filters={model.filters}: a 224-pixel image allows 1 to {MAX_BLOCKS} blocks"
        if min(model.filters + model.fc_widths) < 1:
            yield f"model.filters={model.filters}, fc_widths={model.fc_widths}: each value must be at least 1"
    if isinstance(model, PretrainedConfig):
        for key in ("dropout", "backbone_dropout"):
            if not 0 <= getattr(model, key) < 1:
                yield f"model.{key}={getattr(model, key)}: must be at least 0 and below 1"
        if model.backbone_dropout and model.architecture not in HAVE_DROPOUT:
            yield f"model.backbone_dropout={model.backbone_dropout}: {model.architecture.value} has none: drop it"
        if model.weights not in ("imagenet", "none") and config.evaluate is None and not Path(model.weights).is_file():
            yield f"model.weights={model.weights}: no such file: use imagenet, none, or the path of a state dict"
    if isinstance(approach, HeadConfig) and approach.frozen_bn is FrozenBatchNorm.train and approach.cache_features:
        yield "approach.frozen_bn=train: changes the features with every batch: give approach.cache_features=false too"


def _training_problems(config: Config) -> Iterator[str]:
    trainer, optimizer = config.trainer, config.optimizer
    yield from _outside("seed", config.seed, 0, MAX_SEED)
    yield from _outside("trainer.epochs", trainer.epochs, 1)
    yield from _outside("trainer.batch_size", trainer.batch_size, 1)
    if trainer.micro_batch_size is not None:
        yield from _outside("trainer.micro_batch_size", trainer.micro_batch_size, 1, trainer.batch_size)
    if trainer.patience is not None:
        yield from _outside("trainer.patience", trainer.patience, 1)
    if not optimizer.lr > 0:
        yield f"optimizer.lr={optimizer.lr}: must be above 0"
    yield from _outside("optimizer.weight_decay", getattr(optimizer, "weight_decay", 0.0), 0)
    momentum = getattr(optimizer, "momentum", 0.0)
    if not 0 <= momentum < 1:
        yield f"optimizer.momentum={momentum}: must be at least 0 and below 1"
    if not DEVICE.fullmatch(trainer.device):
        yield f"trainer.device={trainer.device}: is not a device: use auto, cpu, cuda or cuda:<number>"
    if not 0 < config.evaluation.threshold < 1:
        yield f"evaluation.threshold={config.evaluation.threshold}: must be between 0 and 1"
    yield from _outside("evaluation.shown_errors", config.evaluation.shown_errors, 0)


def _dataset_problems(config: Config) -> Iterator[str]:
    dataset, labels = config.dataset, config.labels
    if labels.rule is LabelRule.extremes and labels.normal_min_tbs <= labels.degraded_max_tbs:
        yield f"labels.normal_min_tbs={labels.normal_min_tbs}: must be above degraded_max_tbs={labels.degraded_max_tbs}"
    yield from _outside("labels.degraded_max_tbs", labels.degraded_max_tbs, *PLAUSIBLE_TBS)
    by_name = isinstance(dataset, FolderConfig) or getattr(dataset, "label_from", None) is LabelSource.label
    if labels.rule is LabelRule.extremes and by_name:
        yield "labels.rule=extremes: needs the TBS of every image: use dataset=table with a tbs column"
    if labels.permuted_seed is not None:
        yield from _outside("labels.permuted_seed", labels.permuted_seed, 0, MAX_SEED)
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
            yield from _outside("dataset.bits", dataset.bits, 8, 16)
    if isinstance(dataset, FolderConfig):
        for key in ("normal_folder", "degraded_folder"):
            folder = Path(getattr(dataset, key))
            if folder.is_absolute() or ".." in folder.parts or folder == Path():
                yield f"dataset.{key}={folder}: must be the name of a folder inside dataset.root"
        if Path(dataset.normal_folder) == Path(dataset.degraded_folder):
            yield f"dataset.normal_folder={dataset.normal_folder}: is also dataset.degraded_folder: name two folders"
    if isinstance(dataset, PhantomConfig):
        yield from _outside("dataset.seed", dataset.seed, 0, MAX_SEED)
        for key in ("num_normal", "num_degraded", "tbs_reader_sd", "psf_cv", "thickness_sd_cm"):
            yield from _outside(f"dataset.{key}", getattr(dataset, key), 0)


def _split_problems(config: Config) -> Iterator[str]:
    split = config.split
    if isinstance(split, Table1SplitConfig | StratifiedSplitConfig | KFoldSplitConfig):
        yield from _outside("split.seed", split.seed, 0, MAX_SEED)
    if isinstance(split, KFoldSplitConfig):
        yield from _outside("split.folds", split.folds, 2)
        yield from _outside("split.fold", split.fold, 0, split.folds - 1)
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


def _augmentation_problems(config: Config) -> Iterator[str]:
    augmentation = config.augmentation
    for key in ("copies_per_normal", "copies_per_degraded"):
        yield from _outside(f"augmentation.{key}", getattr(augmentation, key), 0)
    yield from _outside("augmentation.flip_probability", augmentation.flip_probability, 0, 1)
    yield from _outside("augmentation.max_rotation_deg", augmentation.max_rotation_deg, 0, 45)
    least, greatest = augmentation.min_brightness_change, augmentation.max_brightness_change
    if not 0 <= least <= greatest < 1:
        yield (
            f"augmentation.min_brightness_change={least}, max_brightness_change={greatest}: "
            "must be in ascending order, at least 0 and below 1"
        )


def _outside(key: str, value: float, least: float, greatest: float | None = None) -> Iterator[str]:
    if not value >= least or (greatest is not None and value > greatest):
        limit = f"at least {least}" if greatest is None else f"between {least} and {greatest}"
        yield f"{key}={value}: must be {limit}"

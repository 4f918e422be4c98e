"""Checks of the sections model and approach."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dxa_tbs.config.choices import Architecture, FrozenBatchNorm
from dxa_tbs.config.kinds import kind_of, weights_file
from dxa_tbs.config.schema import (
    AdhocConfig,
    Config,
    CustomConfig,
    HeadConfig,
    ModelConfig,
    PretrainedConfig,
    TimmConfig,
    TorchvisionConfig,
    conf_dir,
)

HAVE_DROPOUT = {Architecture.alexnet, Architecture.vgg16}  # in the backbone, not only before the last layer
PAPERS = {name: name for name in ("alexnet", "resnet18", "vgg16", "densenet121")} | {"squeezenet1_0": "squeezenet"}
IN_A_PATH = re.compile(r"\w[\w.-]*", re.ASCII)  # what a folder can be called


def model_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of the network and the approach that cannot be used."""
    model, approach = config.model, config.approach
    kind = kind_of("model", model)
    yield from _name_problems(model)
    if isinstance(model, AdhocConfig) and approach.name != "adhoc":
        yield f"approach={approach.name}: retrains an ImageNet network, which {model.name} is not: use approach=adhoc"
    elif isinstance(approach, HeadConfig) and not (kind.load_weights or isinstance(model, CustomConfig)):
        yield f"approach={approach.name}: retrains the last layer of an ImageNet network, which {model.name} is not"
    if kind.load_weights and approach.name == "adhoc":
        yield f"model={model.name}: is an ImageNet network: use approach=full or approach=head"
    for key in ("input_mean", "input_std"):
        if len(getattr(model, key)) != max(1, len(model.input_mean)):
            yield f"model.{key}={getattr(model, key)}: needs as many values as model.input_mean, one per channel"
    if min(model.input_std) <= 0:
        yield f"model.input_std={model.input_std}: must be above 0, because each channel is divided by it"
    yield from _weights_problems(config)
    yield from _layer_problems(model, config.preprocessing.size_px)
    if isinstance(approach, HeadConfig) and approach.cache_features:
        yield from _cache_problems(model, approach)


def most_blocks(size_px: int) -> int:
    """Return how many blocks of an ad hoc network fit into an image: each turns n pixels into (n - 2) / 2."""
    return 0 if size_px < 4 else 1 + most_blocks((size_px - 2) // 2)


def _name_problems(model: ModelConfig) -> Iterator[str]:
    """Yield a line if the architecture or the name of a network is not one that folders and tables can have."""
    naming = kind_of("model", model).naming
    if isinstance(model, TorchvisionConfig) and model.architecture in PAPERS:
        yield f"model.architecture={model.architecture}: is one of the paper's: use model={PAPERS[model.architecture]}"
    if isinstance(model, TorchvisionConfig | TimmConfig) and not IN_A_PATH.fullmatch(model.architecture):
        yield f"model.architecture={model.architecture}: is not the name of a network: use letters, digits, _, . and -"
    if naming is None:
        return
    if model.name != (wanted := naming.format(**vars(model))):
        yield f"model.name={model.name}: is {wanted} here, from the other settings of model: drop it"
    if not IN_A_PATH.fullmatch(model.name):
        yield f"model.name={model.name}: is the name of a folder: use letters, digits, _, . and -"
    if isinstance(model, CustomConfig) and model.name != "custom" and _is_ours(model.name):
        yield f"model.name={model.name}: is the name of another network: choose one of your own"


def _is_ours(name: str) -> bool:
    return name.startswith("timm_") or (conf_dir() / "model" / f"{name}.yaml").is_file()


def _weights_problems(config: Config) -> Iterator[str]:
    model = config.model
    kind, file = kind_of("model", model), weights_file(model)
    if not kind.load_weights and model.weights != "none":
        yield f"model.weights={model.weights}: {model.name} is trained from scratch: drop it"
    if file is not None and config.evaluate is None and not file.is_file():
        names = kind.weights_names.partition("|")[0]
        yield f"model.weights={model.weights}: no such file: use {names}, none, or the path of a state dict"


def _layer_problems(model: ModelConfig, size_px: int) -> Iterator[str]:
    for key in ("dropout", "backbone_dropout"):
        if not 0 <= getattr(model, key, 0) < 1:
            yield f"model.{key}={getattr(model, key)}: must be at least 0 and below 1"
    if isinstance(model, AdhocConfig):
        if not 1 <= len(model.filters) <= most_blocks(size_px):
            yield f"model.filters={model.filters}: a {size_px}-pixel image allows 1 to {most_blocks(size_px)} blocks"
        if min(model.filters + model.fc_widths) < 1:
            yield f"model.filters={model.filters}, fc_widths={model.fc_widths}: each value must be at least 1"
    if isinstance(model, PretrainedConfig) and model.backbone_dropout and model.architecture not in HAVE_DROPOUT:
        yield f"model.backbone_dropout={model.backbone_dropout}: {model.architecture.value} has none: drop it"


def _cache_problems(model: ModelConfig, approach: HeadConfig) -> Iterator[str]:
    """Yield a line if the features of the backbone cannot be computed once for all epochs."""
    again = "give approach.cache_features=false"
    if approach.frozen_bn is FrozenBatchNorm.train:
        yield f"approach.frozen_bn=train: changes the features with every batch: {again} too"
    if isinstance(model, CustomConfig):
        yield (
            "approach.cache_features=true: features of your own network are not kept, because changes to code that "
            f"{model.factory} imports would go unnoticed: {again}"
        )

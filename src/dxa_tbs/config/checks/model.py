"""Checks of the sections model and approach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dxa_tbs.config.choices import Architecture, FrozenBatchNorm
from dxa_tbs.config.kinds import kind_of
from dxa_tbs.config.schema import AdhocConfig, Config, HeadConfig, PretrainedConfig

HAVE_DROPOUT = {Architecture.alexnet, Architecture.vgg16}  # in the backbone, not only before the last layer


def model_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of the network and the approach that cannot be used."""
    model, approach = config.model, config.approach
    if isinstance(model, AdhocConfig) and approach.name != "adhoc":
        yield f"approach={approach.name}: retrains an ImageNet network, which {model.name} is not: use approach=adhoc"
    elif isinstance(approach, HeadConfig) and not isinstance(model, PretrainedConfig):
        yield f"approach={approach.name}: retrains the last layer of an ImageNet network, which {model.name} is not"
    if isinstance(model, PretrainedConfig) and approach.name == "adhoc":
        yield f"model={model.name}: is an ImageNet network: use approach=full or approach=head"
    for key in ("input_mean", "input_std"):
        if len(getattr(model, key)) != max(1, len(model.input_mean)):
            yield f"model.{key}={getattr(model, key)}: needs as many values as model.input_mean, one per channel"
    if min(model.input_std) <= 0:
        yield f"model.input_std={model.input_std}: must be above 0, because each channel is divided by it"
    if not kind_of("model", model).load_weights and model.weights != "none":
        yield f"model.weights={model.weights}: {model.name} is trained from scratch: drop it"
    if isinstance(model, AdhocConfig):
        size_px = config.preprocessing.size_px
        if not 1 <= len(model.filters) <= most_blocks(size_px):
            yield f"model.filters={model.filters}: a {size_px}-pixel image allows 1 to {most_blocks(size_px)} blocks"
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


def most_blocks(size_px: int) -> int:
    """Return how many blocks of an ad hoc network fit into an image: each turns n pixels into (n - 2) / 2."""
    return 0 if size_px < 4 else 1 + most_blocks((size_px - 2) // 2)

"""The kinds of each part of the configuration, and the function that receives the settings of each kind.

A kind is a schema and a function. The settings that the schema adds to its base class are keyword arguments of the
function. To add a network, dataset, split, sampling, optimizer, schedule, task or loss, write one file with both and
call `register_kind`. Functions are given by name, `package.module:function`, because this room imports no other room.
"""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore

from dxa_tbs.config import schema
from dxa_tbs.errors import Refusal


@dataclass(frozen=True)
class Kind:
    """A schema, and the names of the functions that receive its settings, as `package.module:function`.

    Besides the settings, the function of each group takes these arguments and returns:
        model: takes num_outputs, in_channels and size_px; returns a torch.nn.Module from images (B, in_channels,
            size_px, size_px) to outputs (B, num_outputs).
        channels: takes grey levels from 0 to 255, float32 (B, H, W); returns channels (B, C, H, W) in the same range.
            Without a function, every channel is the grey level.
        dataset: takes label (a function from TBS to class), needs_tbs and keep (columns to keep); returns the table of
            the cohort, see `dxa_tbs.data.cohort`.
        split: takes the table of the cohort and class_names; returns train, val or test for each row.
        optimizer: takes the parameters; returns a torch.optim.Optimizer.
        schedule: takes the optimizer and epochs (how many at most); returns a function of the watched loss, called
            after each epoch, that sets the learning rates of the next one.
        sampling: takes the training images' targets (N,) and seed; returns an iterator over the order of each epoch,
            int64 (N,): numbers of images in targets.
        loss: takes outputs (B, K) and targets (B,); returns their mean loss. If it has an argument class_counts, it is
            given the number of training images of each class, or None before the training images are known.
        task: takes loss; returns a `dxa_tbs.tasks.task.Task`.
        operation: takes image, uint8 (H, W), and rng, a np.random.Generator; returns the changed image, uint8 (H, W).
        tracker: takes a `dxa_tbs.tracking.tracker.RunStart`; returns a `Tracker`. It is called in another process.

    Attributes:
        load_weights: for a model that can load weights: takes the network, the setting `weights`, input_mean, input_std
            and the model's own settings, loads the weights and returns the SHA-256 of their file.
        weights_names: for such a model: a regular expression of the weights that are known by a name, beside none. All
            others are paths.
        naming: of a model that does not have the name of its option: its name in terms of its settings, such as
            timm_{architecture}; {name} is any name.
        write_results: for a task: writes its metrics and figures into the run folder, see `pipeline.results`.
        one_output_per_class: for a model: whether it has two outputs (softmax) for two classes, not one (sigmoid).
        needs_classes: of a loss or a sampling: whether targets must be numbers of classes, not values.
        alters_texture: of an operation: whether it interpolates, smooths or adds noise.
    """

    schema: type
    function: str
    load_weights: str | None = None
    weights_names: str = "imagenet"
    naming: str | None = None
    write_results: str | None = None
    one_output_per_class: bool = False
    needs_classes: bool = False
    alters_texture: bool = False


KINDS: dict[str, dict[str, Kind]] = {
    "task": {
        "binary": Kind(
            schema.BinaryTaskConfig,
            "dxa_tbs.tasks.binary:binary_task",
            write_results="dxa_tbs.pipeline.results:write_binary",
        )
    },
    "loss": {
        "cross_entropy": Kind(schema.CrossEntropyConfig, "dxa_tbs.tasks.losses:cross_entropy", needs_classes=True),
        "weighted": Kind(schema.WeightedConfig, "dxa_tbs.tasks.losses.weighted:weighted", needs_classes=True),
        "focal": Kind(schema.FocalConfig, "dxa_tbs.tasks.losses.focal:focal", needs_classes=True),
        "custom": Kind(schema.CustomLossConfig, "dxa_tbs.tasks.losses.custom:custom_loss"),
    },
    "model": {
        "adhoc": Kind(schema.AdhocConfig, "dxa_tbs.models.adhoc:build_adhoc"),
        "pretrained": Kind(
            schema.PretrainedConfig,
            "dxa_tbs.models.pretrained:build_pretrained",
            load_weights="dxa_tbs.models.weights:load_initial",
            one_output_per_class=True,
        ),
        "torchvision": Kind(
            schema.TorchvisionConfig,
            "dxa_tbs.models.torchvision_networks:build_torchvision",
            load_weights="dxa_tbs.models.torchvision_networks:load_torchvision",
            weights_names=r"imagenet|[A-Z][A-Z0-9_]*",
            naming="{architecture}",
            one_output_per_class=True,
        ),
        "timm": Kind(
            schema.TimmConfig,
            "dxa_tbs.models.timm_networks:build_timm",
            load_weights="dxa_tbs.models.timm_networks:load_timm",
            weights_names="pretrained",
            naming="timm_{architecture}",
            one_output_per_class=True,
        ),
        "custom": Kind(schema.CustomConfig, "dxa_tbs.models.own:build_own", naming="{name}"),
    },
    "channels": {
        "grey": Kind(schema.GreyChannelsConfig, ""),
        "texture": Kind(schema.TextureChannelsConfig, "dxa_tbs.models.texture:texture_channels"),
    },
    "approach": {"whole": Kind(schema.WholeNetworkConfig, ""), "head": Kind(schema.HeadConfig, "")},
    "dataset": {
        "phantom": Kind(schema.PhantomConfig, "dxa_tbs.data.phantom.cohort:phantom_cohort"),
        "folder": Kind(schema.FolderConfig, "dxa_tbs.data.folders:read_folder"),
        "table": Kind(schema.TableConfig, "dxa_tbs.data.cohort:read_table"),
    },
    "split": {
        "table1": Kind(schema.Table1SplitConfig, "dxa_tbs.data.split:split_by_counts"),
        "stratified": Kind(schema.StratifiedSplitConfig, "dxa_tbs.data.split:split_by_fractions"),
        "kfold": Kind(schema.KFoldSplitConfig, "dxa_tbs.data.split:split_by_fold"),
        "file": Kind(schema.FileSplitConfig, "dxa_tbs.data.split:split_from_file"),
        "external": Kind(schema.ExternalSplitConfig, "dxa_tbs.data.split:all_test"),
    },
    "optimizer": {
        "sgd": Kind(schema.SgdConfig, "torch.optim:SGD"),
        "adamw": Kind(schema.AdamWConfig, "torch.optim:AdamW"),
        "custom": Kind(schema.CustomOptimizerConfig, "dxa_tbs.training.custom:custom_optimizer"),
    },
    "schedule": {
        "constant": Kind(schema.ConstantConfig, "dxa_tbs.training.schedules:constant"),
        "cosine": Kind(schema.CosineConfig, "dxa_tbs.training.schedules:cosine"),
        "plateau": Kind(schema.PlateauConfig, "dxa_tbs.training.schedules:plateau"),
        "custom": Kind(schema.CustomScheduleConfig, "dxa_tbs.training.custom:custom_schedule"),
    },
    "sampling": {
        "shuffle": Kind(schema.ShuffleConfig, "dxa_tbs.training.sampling:shuffle"),
        "balanced": Kind(schema.BalancedSamplingConfig, "dxa_tbs.training.sampling:balanced", needs_classes=True),
    },
    "operation": {  # of an augmentation; the entries of augmentation.operations name them
        "flip": Kind(schema.FlipConfig, "dxa_tbs.data.operations:flip"),
        "rotate": Kind(schema.RotateConfig, "dxa_tbs.data.operations:rotate", alters_texture=True),
        "shift": Kind(schema.ShiftConfig, "dxa_tbs.data.operations:shift"),
        "zoom": Kind(schema.ZoomConfig, "dxa_tbs.data.operations:zoom", alters_texture=True),
        "brightness": Kind(schema.BrightnessConfig, "dxa_tbs.data.operations:brightness"),
        "contrast": Kind(schema.ContrastConfig, "dxa_tbs.data.operations:contrast"),
        "noise": Kind(schema.NoiseConfig, "dxa_tbs.data.operations:noise", alters_texture=True),
        "blur": Kind(schema.BlurConfig, "dxa_tbs.data.operations:blur", alters_texture=True),
    },
    "tracker": {
        "none": Kind(schema.NoTrackerConfig, ""),
        "tensorboard": Kind(schema.TensorBoardConfig, "dxa_tbs.tracking.tensorboard:open_tensorboard"),
        "mlflow": Kind(schema.MlflowConfig, "dxa_tbs.tracking.mlflow:open_mlflow"),
        "wandb": Kind(schema.WandbConfig, "dxa_tbs.tracking.wandb:open_wandb"),
    },
}


def register_kind(group: str, name: str, kind: Kind) -> None:
    """Register a kind, for YAML files that begin with `defaults: [/schema/<group>@_here_: <name>, _self_]`.

    Raises:
        ValueError: another kind has this name or this schema; a kind is known by its schema.
    """
    for other, known in KINDS[group].items():
        is_again = other == name and known.function == kind.function  # its module is imported a second time
        if not is_again and (other == name or known.schema is kind.schema):
            raise ValueError(
                f"{group}: {name} has the name or the schema of {other}: derive a schema with another name"
            )
    KINDS[group][name] = kind
    _store(group, name, kind)


def _store(group: str, name: str, kind: Kind) -> None:
    ConfigStore.instance().store(group=f"schema/{group}", name=name, node=kind.schema)


def register_schemas() -> None:
    """Register the schemas of all kinds with Hydra."""
    ConfigStore.instance().store(name="base_schema", node=schema.Config)
    for group, kinds in KINDS.items():
        for name, kind in kinds.items():
            _store(group, name, kind)


def kind_of(group: str, section: object) -> Kind:
    """Return the kind of a section of the configuration."""
    return next(kind for kind in KINDS[group].values() if kind.schema is type(section))


def weights_file(model: schema.ModelConfig) -> Path | None:
    """Return the path of the file of initial weights that the user names; None if they give a name or none at all."""
    kind = kind_of("model", model)
    is_name = kind.load_weights is None or re.fullmatch(f"none|{kind.weights_names}", model.weights)
    return None if is_name else Path(model.weights)


def function_of(group: str, section: object) -> Callable[..., Any]:
    """Import and return the function that receives the settings of a section of the configuration."""
    return resolve(kind_of(group, section).function)


def resolve(name: str) -> Callable[..., Any]:
    """Import and return the function with this name, `package.module:function`.

    Raises:
        Refusal: there is no such function.
    """
    try:
        function: Callable[..., Any] = pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise Refusal(f"{name} cannot be imported ({error}): correct its registration") from None
    return function


def own_settings(section: Any) -> dict[str, Any]:
    """Return the settings that the schemas of kinds declare, not those of a whole group; nested settings as dicts."""
    schemas = {kind.schema for kinds in KINDS.values() for kind in kinds.values()}
    own = {name for schema in schemas & {*type(section).__mro__} for name in inspect.get_annotations(schema)}
    return {name: value for name, value in dataclasses.asdict(section).items() if name in own}

"""The kinds of each part of the configuration, and the function that receives the settings of each kind.

A kind is a schema and a function. The settings that the schema adds to its base class are keyword arguments of the
function. To add a network, dataset, split, optimizer, task or loss, write one file with both and call `register_kind`.
Functions are given by name, `package.module:function`, because this room imports no other room.
"""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from dxa_tbs.config import schema
from dxa_tbs.errors import Refusal


@dataclass(frozen=True)
class Kind:
    """A schema, and the names of the functions that receive its settings, as `package.module:function`.

    Besides the settings, the function of each group takes these arguments and returns:
        model: takes num_outputs; returns a torch.nn.Module from images (B, 3, 224, 224) to outputs (B, num_outputs).
        dataset: takes label (a function from TBS to class), needs_tbs and keep (columns to keep); returns the table of
            the cohort, see `dxa_tbs.data.cohort`.
        split: takes the table of the cohort and class_names; returns train, val or test for each row.
        optimizer: takes the parameters; returns a torch.optim.Optimizer.
        loss: takes outputs (B, K) and targets (B,); returns their mean loss.
        task: takes loss; returns a `dxa_tbs.tasks.task.Task`.
        tracker: takes a `dxa_tbs.tracking.tracker.RunStart`; returns a `Tracker`. It is called in another process.

    Attributes:
        load_weights: for a model that can load weights: takes the network, the setting `weights` and the model's own
            settings, loads the weights and returns the SHA-256 of their file.
        write_results: for a task: writes its metrics and figures into the run folder, see `pipeline.results`.
        one_output_per_class: for a model: whether it has two outputs (softmax) for two classes, not one (sigmoid).
        needs_classes: of a loss: whether its targets must be numbers of classes, not values.
    """

    schema: type
    function: str
    load_weights: str | None = None
    write_results: str | None = None
    one_output_per_class: bool = False
    needs_classes: bool = False


KINDS: dict[str, dict[str, Kind]] = {
    "task": {
        "binary": Kind(
            schema.BinaryTaskConfig,
            "dxa_tbs.tasks.binary:binary_task",
            write_results="dxa_tbs.pipeline.results:write_binary",
        )
    },
    "loss": {
        "cross_entropy": Kind(schema.CrossEntropyConfig, "dxa_tbs.tasks.losses:cross_entropy", needs_classes=True)
    },
    "model": {
        "adhoc": Kind(schema.AdhocConfig, "dxa_tbs.models.adhoc:build_adhoc"),
        "pretrained": Kind(
            schema.PretrainedConfig,
            "dxa_tbs.models.pretrained:build_pretrained",
            load_weights="dxa_tbs.models.weights:load_initial",
            one_output_per_class=True,
        ),
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

"""The kinds of each part of the configuration, and the function that the settings of each kind are passed to.

A kind is a schema and a function. The settings that the schema declares beyond its base class are keyword arguments of
the function, so that a new network, dataset, split, optimizer, task or loss is one file with both, and one call of
`register_kind`. Functions are named as text, `package.module:function`: this room imports no other.
"""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from dxa_tbs.config import schema


@dataclass(frozen=True)
class Kind:
    """A schema, and the functions its settings are for, as `package.module:function`.

    What a function takes beside the settings, and what it returns:
        model: num_outputs; a torch.nn.Module from images (B, 3, 224, 224) to outputs (B, num_outputs).
        dataset: label (TBS to class) and keep (columns to keep); the cohort's table, see `dxa_tbs.data.cohort`.
        split: the cohort's table and class_names; train, val or test for each row.
        optimizer: the parameters; a torch.optim.Optimizer.
        loss: outputs (B, K) and targets (B,); their mean loss.
        task: loss; a `dxa_tbs.tasks.task.Task`.

    Attributes:
        load_weights: of a model whose weights can be given: takes the network, the setting `weights` and the model's
            own settings, loads them and returns the SHA-256 of their file.
        write_results: of a task: writes its metrics and figures into the run folder, see `pipeline.results`.
        one_output_per_class: of a model: whether it has two outputs (softmax) for two classes, not one (sigmoid).
    """

    schema: type
    function: str
    load_weights: str | None = None
    write_results: str | None = None
    one_output_per_class: bool = False


KINDS: dict[str, dict[str, Kind]] = {
    "task": {
        "binary": Kind(
            schema.BinaryTaskConfig,
            "dxa_tbs.tasks.binary:binary_task",
            write_results="dxa_tbs.pipeline.results:write_binary",
        )
    },
    "loss": {"cross_entropy": Kind(schema.CrossEntropyConfig, "dxa_tbs.tasks.losses:cross_entropy")},
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
}


def register_kind(group: str, name: str, kind: Kind) -> None:
    """Make a kind known; a YAML file of the group then names it: `defaults: [/schema/model@_here_: <name>, _self_]`."""
    KINDS[group][name] = kind
    ConfigStore.instance().store(group=f"schema/{group}", name=name, node=kind.schema)


def register_schemas() -> None:
    """Make the schemas of all kinds known to Hydra."""
    ConfigStore.instance().store(name="base_schema", node=schema.Config)
    for group, kinds in KINDS.items():
        for name, kind in kinds.items():
            register_kind(group, name, kind)


def kind_of(group: str, section: object) -> Kind:
    """Return the kind that a part of the configuration is of."""
    return next(kind for kind in KINDS[group].values() if kind.schema is type(section))


def function_of(group: str, section: object) -> Callable[..., Any]:
    """Return the function that the settings of a part of the configuration are for; imports its module."""
    return resolve(kind_of(group, section).function)


def resolve(name: str) -> Callable[..., Any]:
    """Return the function of that name, `package.module:function`; imports its module."""
    function: Callable[..., Any] = pkgutil.resolve_name(name)
    return function


def own_settings(section: Any) -> dict[str, Any]:
    """Return the settings that the schema of a kind declares beyond its base class; nested ones as dicts."""
    base = type(section).__mro__[1]
    inherited = {field.name for field in dataclasses.fields(base)} if dataclasses.is_dataclass(base) else set()
    return {name: value for name, value in dataclasses.asdict(section).items() if name not in inherited}

"""Convert Hydra's composed configuration to plain dataclasses, and these to the contents of config.yaml."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict

from dxa_tbs.config.kinds import KINDS, Kind, register_schemas
from dxa_tbs.config.operations import completed_operations
from dxa_tbs.config.schema import Config, conf_dir
from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import named_code, require_named_again

NAMING_GROUPS = ("experiment", "dataset", "approach", "model")
OF_TRAINING = (
    *("seed", "task", "loss", "model", "approach", "channels", "augmentation", "preprocessing"),
    *("sampling", "optimizer", "schedule", "trainer"),
)


def load_config(cfg: DictConfig) -> Config:
    """Return the composed configuration as plain dataclasses.

    Raises:
        Refusal: a key is not in the schema (Hydra adds +key=value silently), a value is not set, or an operation of the
            augmentation is unknown or has a wrong setting.
    """
    if unknown := list(_unknown_keys(cfg)):
        raise Refusal(f"{unknown[0]} is not a setting: drop it (+key=value adds a key, and no key can be added)")
    missing = sorted(OmegaConf.missing_keys(cfg))
    config = None if missing else OmegaConf.to_object(cfg)
    if isinstance(config, Config):
        missing = list(_keys_without_value(to_plain(config)))  # a key removed with ~key
    if missing:
        raise Refusal(f"{missing[0]} is not set: give {missing[0]}=<value>")
    assert isinstance(config, Config)
    config.augmentation.operations = completed_operations(config.augmentation.operations)
    return config


def names_itself(cfg: DictConfig, group: str) -> bool:
    """Return whether the chosen kind of a group has a name of its own, not that of its option."""
    schema = OmegaConf.get_type(cfg[group])
    return any(kind.naming is not None for kind in KINDS.get(group, {}).values() if kind.schema is schema)


def compose_settings(overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """Return the composed settings, and the option chosen for each group, as on the command line.

    Raises:
        Refusal: there is no such recipe.
        hydra.errors.HydraException: there is no such setting or option.
    """
    with _hydra():
        check_recipe(overrides)
        cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
    choices = dict(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, choices


def defaults_of(options: Mapping[str, str], overrides: Sequence[str]) -> dict[str, Any] | None:
    """Return the default settings for those of these options that are part of a run's folder name.

    None: the options are not found here, such as those of a user's own that another command named.
    """
    with _hydra(), contextlib.suppress(MissingConfigException):
        return default_settings(options, overrides)
    return None


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    """Initialise Hydra for our configuration, and restore the caller's Hydra afterwards."""
    register_schemas()
    callers, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = callers


def help_text(overrides: Sequence[str]) -> str:
    """Return the text of --help: the template in conf/hydra/help, filled with the configuration for these settings.

    Hydra's own --help first lists every group of every package on its search path, which takes half a second.
    """
    with _hydra():
        check_recipe(overrides)
        cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
    ours = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return str(cfg.hydra.help.template).replace("$CONFIG", OmegaConf.to_yaml(ours))


def settings_of(plain: Mapping[str, Any]) -> Config:
    """Return the contents of a run's config.yaml as dataclasses.

    Raises:
        Refusal: its settings are not those of this version.
    """
    sections = {field.name for field in dataclasses.fields(Config)}
    cfg = OmegaConf.structured(Config)
    for section in sections & plain.keys():
        cfg[section] = _typed(section, plain[section])
    return load_config(cfg)


def check_recipe(overrides: Sequence[str]) -> None:
    """Refuse a recipe that does not exist: the group is optional, and Hydra silently ignores an unknown option.

    Args:
        overrides: what the user typed.

    Raises:
        Refusal: there is no such recipe; the message lists the existing ones.
    """
    options = GlobalHydra.instance().config_loader().get_group_options("recipe")
    for text in overrides:
        key, _, value = text.partition("=")
        if key == "recipe" and value not in options:
            raise Refusal(
                f"{text}: no such option; options: {', '.join(options)}: drop it to use that of model and optimizer"
            )


def default_settings(choices: Mapping[str, str], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings if only these options are chosen; required settings stay `???`.

    Hydra must be initialised.

    Args:
        choices: the option of each group; only model, approach, dataset and experiment are used.
        overrides: as typed; only hydra.searchpath, where options of one's own are found, is used.
    """
    typed = [text for text in overrides if text.startswith("hydra.searchpath")]
    typed += [f"{group}={choices[group]}" for group in NAMING_GROUPS if choices.get(group) is not None]
    cfg = compose("config", overrides=typed)
    plain = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(plain, dict)
    plain["augmentation"]["operations"] = completed_operations(plain["augmentation"]["operations"])
    return {str(key): value for key, value in plain.items()}


def chosen_options(overrides: Sequence[str]) -> dict[str, str]:
    """Return the chosen options (such as model=model4) of the groups in NAMING_GROUPS."""
    pairs = (text.partition("=")[::2] for text in overrides)
    return {group: option for group, option in pairs if group in NAMING_GROUPS}


def to_plain(config: Config) -> dict[str, Any]:
    """Return the configuration as dicts, lists, strings and numbers, as written to config.yaml."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value.value if isinstance(value, Enum) else value

    settings = {field.name for field in dataclasses.fields(Config)}
    return {key: plain(value) for key, value in dataclasses.asdict(config).items() if key in settings}


def take_over_training(cfg: DictConfig, trained: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Copy the settings of a finished run, except those the user typed, into the configuration of its evaluation.

    If the user chooses another dataset (external validation), all of its images are test images unless a split is
    chosen too. If the network is code of the user's own, the user must name it again: with model=custom
    model.factory=..., or with a YAML file of their own.

    Args:
        cfg: the configuration, changed in place.
        trained: config.yaml of the run.
        overrides: what the user typed.

    Raises:
        Refusal: the user typed a setting that is fixed by the trained weights, typed a setting of a group without
            choosing the option of the group, or did not name their own code again.
    """
    typed = {text.lstrip("+~").split("=")[0] for text in overrides}
    of_network = named_code({"model": trained["model"]})
    require_named_again(of_network, named_code({"model": cfg.model}), run=cfg.evaluate)
    named_again = {"model", *of_network} if of_network else set()
    for key in sorted(typed - {"trainer.device"} - named_again):
        group = key.split(".")[0]
        if group in (*OF_TRAINING, "recipe", "experiment"):
            raise Refusal(f"{key}: is fixed by the run given with evaluate=<run>: drop it")
        if group in ("dataset", "split") and group not in typed:
            raise Refusal(f"{key}: evaluate=<run> uses the {group} of the run: give {group}=<option> as well")
    device = cfg.trainer.device
    for section in OF_TRAINING:
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
    """Return the values of a section as a node of the schema whose fields they have.

    If several kinds have the same fields, it is the one that is called so.

    Raises:
        Refusal: no kind has these fields, or several have, none of them called so.
    """
    if not isinstance(values, Mapping):
        return values
    kinds = KINDS.get(section) or {section: Kind(get_type_hints(Config)[section], "")}
    fitting = {
        name: kind
        for name, kind in kinds.items()
        if {field.name for field in dataclasses.fields(kind.schema)} == set(values)
    }
    chosen = list(fitting.values())
    if len(chosen) > 1:
        chosen = [kind for name, kind in fitting.items() if values["name"] == (kind.naming or name).format(**values)]
    if len(chosen) != 1:
        told = f"fit several kinds ({', '.join(fitting)})" if fitting else "are not the settings of this version"
        raise Refusal(f"{section}: the run's settings {told}: train it again")
    return OmegaConf.merge(OmegaConf.structured(chosen[0].schema), values)


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

"""A configuration that remembers what it was composed from, so that it can be changed and checked again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dxa_tbs.config.checks import NAMED_GROUPS, check_config
from dxa_tbs.config.compose import load_config
from dxa_tbs.config.schema import Config
from dxa_tbs.errors import Refusal


@dataclass(frozen=True)
class Origin:
    """What a configuration was composed from.

    Attributes:
        options: the chosen option of each group.
        searchpath: overrides that say where options of the user's own are found.
        run: the run folder that it was read from instead; None: it was composed.
    """

    options: Mapping[str, str]
    searchpath: tuple[str, ...] = ()
    run: str | None = None


@dataclass
class ComposedConfig(Config):
    """A configuration whose origin is known; `dataclasses.replace` and `copy.deepcopy` keep it."""

    origin: Origin | None = dataclasses.field(default=None, repr=False, compare=False)


def with_origin(config: Config, origin: Origin) -> ComposedConfig:
    return ComposedConfig(**_settings(config), origin=origin)


def check_again(config: Config) -> tuple[Config, Origin]:
    """Return the settings of a configuration that its user may have changed, checked again, and its origin.

    Raises:
        Refusal: `dxa_tbs.compose` or `dxa_tbs.load_run` did not make it; an attribute is no setting; a value is wrong;
            or an option's name was changed.
    """
    origin = config.origin if isinstance(config, ComposedConfig) else None
    if origin is None:
        raise Refusal(f"config: {type(config).__name__} given: give what dxa_tbs.compose([...]) returns")
    if unknown := next(_unknown_attributes(config), None):
        raise Refusal(f"config.{unknown}: no such setting: correct its name")
    checked = load_config(_typed(_settings(config)))
    for group in NAMED_GROUPS:
        name, option = getattr(checked, group).name, origin.options[group]
        if name != option:
            raise Refusal(f"{group}.name={name}: is not the name of {group}={option}: compose with {group}={name}")
    check_config(checked)
    return checked, origin


def _settings(config: Config) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}


def _typed(settings: Mapping[str, Any]) -> DictConfig:
    """Return the settings as the schema types them: "7" becomes 7 where it wants a number.

    Raises:
        Refusal: a value has the wrong type.
    """
    sections = {name: value for name, value in settings.items() if dataclasses.is_dataclass(value)}
    try:
        for section, value in sections.items():
            prefix = f"{section}."
            OmegaConf.structured(value)  # its errors name the setting within the section
        prefix = ""
        typed: DictConfig = OmegaConf.structured(Config(**settings))
        return typed
    except OmegaConfBaseException as error:
        raise Refusal(f"{prefix}{error.full_key}: {str(error.msg or error).splitlines()[0]}") from None


def _unknown_attributes(section: Any, prefix: str = "") -> Iterator[str]:
    """Yield the attributes that were set on the configuration but are no settings: they would do nothing."""
    known = {field.name for field in dataclasses.fields(section)}
    for name, value in vars(section).items():
        if name not in known:
            yield prefix + name
        elif dataclasses.is_dataclass(value) and not isinstance(value, Origin):
            yield from _unknown_attributes(value, f"{prefix}{name}.")

"""The entries of augmentation.operations: each is checked against the schema of its operation, and completed."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dxa_tbs.config.kinds import KINDS
from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import IMPORT_PATH

KEY = "augmentation.operations"
GIVEN = {"image", "rng"}  # the arguments that every operation is given


def completed_operations(entries: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the entries with all settings of their operations, as strings and numbers.

    The settings of an operation of the user's own, whose name is package.module:function, stay as they are.

    Raises:
        Refusal: an operation or a setting is unknown, or a value has a wrong type.
    """
    return [_completed(f"{KEY}.{place}", entry) for place, entry in enumerate(entries)]


def _completed(key: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise Refusal(f"{key}={entry}: is not an operation with its settings: write {{name: flip, probability: 0.5}}")
    if ":" in entry["name"]:
        return _own(key, entry)
    kinds = KINDS["operation"]
    if entry["name"] not in kinds:
        near = _nearest(entry["name"], kinds)
        raise Refusal(
            f"{key}.name={entry['name']}: no such operation{near}; operations: {', '.join(kinds)}, or one of your own "
            "as package.module:function"
        )
    schema = kinds[entry["name"]].schema
    settings = [field.name for field in dataclasses.fields(schema)]
    for name in entry:
        if name not in settings:
            near = _nearest(str(name), settings)
            raise Refusal(
                f"{key}.{name}: {entry['name']} has no such setting{near}; settings: {', '.join(settings[1:])}"
            )
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), entry)
    except OmegaConfBaseException as error:
        name = error.full_key or "name"
        raise Refusal(f"{key}.{name}={entry.get(name)}: {str(error).splitlines()[0]}") from None
    if missing := sorted(OmegaConf.missing_keys(merged)):
        raise Refusal(f"{key}.{missing[0]} is not set: give {key}.{missing[0]}=<value>")
    completed = OmegaConf.to_container(merged, enum_to_str=True)
    assert isinstance(completed, dict)
    return {str(name): value for name, value in completed.items()}


def _own(key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of an operation of the user's own, which is not imported here."""
    if not IMPORT_PATH.fullmatch(entry["name"]):
        raise Refusal(f"{key}.name={entry['name']}: is not of the form package.module:function")
    if given := sorted(GIVEN & entry.keys()):
        raise Refusal(f"{key}.{given[0]}: every operation is given image and rng: call your setting something else")
    return dict(entry)


def _nearest(name: str, valid: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""

"""Versions of the settings: how the config.yaml of an older run is completed, and that of a newer one refused.

config.yaml holds the version of its settings as `schema_version`. Runs of dxa_tbs 0.1.0, and of development versions
after it that did not write the number yet, count as version 1.

To add a setting, append one line to ADDED_SINCE, with the next version. Older runs then stay finished and comparable.
Settings that others replaced are converted, as those of an augmentation are by `_with_operations`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from dxa_tbs.errors import Refusal

VERSION_KEY = "schema_version"
UNVERSIONED = 1  # the version of a config.yaml that states none


class Added(NamedTuple):
    """A setting that older runs lack.

    Some sections have several kinds with different settings, such as the optimizers. If a setting belongs to one kind,
    name another setting that only this kind has (`only_with`) or that only the other kinds have (`only_without`).

    Attributes:
        key: section.setting, or what stands outside all sections: a setting, or a whole new section.
        value: what was in force before the setting existed; of a section, all of its settings.
        since: the first version that has it.
    """

    key: str
    value: Any
    since: int
    only_with: str | None = None
    only_without: str | None = None


ADDED_SINCE = (
    Added("task", {"name": "binary"}, since=2),
    Added("loss", {"name": "cross_entropy"}, since=2),
    Added("dataset.patient_from", None, since=2, only_with="normal_folder"),
    Added("dataset.near_duplicates", "refuse", since=2),
    Added("preprocessing.region", "whole", since=2),
    Added("labels.permuted_seed", None, since=2),
    Added("trainer.watched", "all", since=2),
    Added("evaluation.shown_errors", 4, since=2),
    Added("preprocessing.size_px", 224, since=3),
    Added("channels", {"name": "grey"}, since=3),
    Added("augmentation.when", "copies", since=3),
    Added("sampling", {"name": "shuffle"}, since=3),
    Added("schedule", {"name": "constant"}, since=3),
    Added("trainer.ema_decay", None, since=3),
    Added("tracker", {"name": "none"}, since=3),
)
OPERATIONS_SINCE = 3  # the first version whose augmentation is a list of operations
FLAT_AUGMENTATION = {  # the settings that each operation had before, by their present names
    "flip": {"probability": "flip_probability"},
    "rotate": {"max_deg": "max_rotation_deg", "interpolation": "interpolation"},
    "brightness": {"min_change": "min_brightness_change", "max_change": "max_brightness_change"},
}


class NewerRun(Refusal, ValueError):  # noqa: N818 - as Refusal
    """A newer version of dxa_tbs wrote the run. It is a ValueError too, so that readers of many runs go on after it."""


def schema_version() -> int:
    """Return the version of the settings that this program reads and writes."""
    return max(added.since for added in ADDED_SINCE)


def with_version(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the config.yaml of a new run holds."""
    return {VERSION_KEY: schema_version(), **settings}


def completed_settings(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run, given what its config.yaml holds.

    A setting newer than the run gets the value that was in force before it existed. A value that is there stays: some
    development versions had such a setting before config.yaml stated a version. A missing setting that the run's
    version did have stays missing, because then the file is damaged. Settings that others replaced are converted.

    Raises:
        NewerRun: a newer version wrote it.
        ValueError: its version is not a positive whole number.
    """
    settings = copy.deepcopy(dict(stored))
    version = settings.pop(VERSION_KEY, UNVERSIONED)
    if type(version) is not int or version < 1:
        raise ValueError(f"{VERSION_KEY} is not a positive whole number")
    if version > schema_version():
        raise NewerRun(
            f"{VERSION_KEY}={version}: written by a newer version of dxa_tbs, this one reads {VERSION_KEY} up to "
            f"{schema_version()}: update dxa_tbs"
        )
    if version < OPERATIONS_SINCE and isinstance(settings.get("augmentation"), dict):
        settings["augmentation"] = _with_operations(settings["augmentation"])
    for added in ADDED_SINCE:
        section, _, name = added.key.rpartition(".")
        values = settings.get(section) if section else settings
        if added.since > version and isinstance(values, dict) and _belongs(added, values):
            values.setdefault(name, copy.deepcopy(added.value))
    return settings


def _with_operations(augmentation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an augmentation with a list of operations instead of the flat ones of older versions.

    The operations were always these three, in this order. Without copies they had no effect, and there are none.
    """
    flat = {old for settings in FLAT_AUGMENTATION.values() for old in settings.values()}
    if not flat <= augmentation.keys():
        return dict(augmentation)  # damaged
    has_copies = any(augmentation.get(f"copies_per_{name}") for name in ("normal", "degraded"))
    operations = [
        {"name": name, **{new: augmentation[old] for new, old in settings.items()}}
        for name, settings in FLAT_AUGMENTATION.items()
        if has_copies
    ]
    return {key: value for key, value in augmentation.items() if key not in flat} | {"operations": operations}


def _belongs(added: Added, values: Mapping[str, Any]) -> bool:
    """Return whether a section with these values is of a kind that has the setting."""
    is_with = added.only_with is None or added.only_with in values
    return is_with and (added.only_without is None or added.only_without not in values)

"""What differs between the settings of two experiments, in words: `learning rate 0.01 instead of 0.001`.

Settings are flat, under dotted keys (`Run.settings`). A section whose `name` differs has another option of its group,
such as another loss; it is one difference, with the settings of that option as its details.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GROUPS = {"model": "network"}  # section: what its options are; all others are called as the section is
WORDS = {  # setting: what is said of it; of all others, their name, with their section unless it is in UNSAID
    "model.fc_widths": "FC layers {}",
    "optimizer.lr": "learning rate {}",
    "trainer.epochs": "{} epochs",
    "trainer.batch_size": "batches of {}",
    "trainer.test_epoch": "tested epoch {}",
    "trainer.watched": "watched validation images {}",
    "trainer.ema_decay": "averaged weights (decay {})",
    "schedule.warmup_epochs": "{} warm-up epochs",
    "augmentation.operations": "operations {}",
    "preprocessing.size_px": "images of {} pixels",
    "labels.degraded_max_tbs": "Degraded up to a TBS of {}",
    "name": "study {}",
}
UNSAID = ("model", "approach", "optimizer", "trainer")
NONE = "none"


@dataclass(frozen=True)
class Difference:
    """One difference in words.

    Attributes:
        key: of the setting; of another option, that of its name.
        words: `learning rate 0.01`, or `loss focal`.
        instead: the value in the other experiment; empty if it is off there.
        own: of another option, those of its settings that the other experiment does not have, in words.
        others: of another option, those of its settings that the other experiment has otherwise, in words.
    """

    key: str
    words: str
    instead: str = ""
    own: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return `learning rate 0.01`, or `loss focal (gamma 2)`."""
        return self.words + _in_brackets(self.own)

    @property
    def short(self) -> str:
        """Return the same with all settings of another option: `optimizer adamw (learning rate 0.01)`."""
        return self.words + _in_brackets((*self.own, *self.others))

    @property
    def full(self) -> str:
        """Return `learning rate 0.01 instead of 0.001`, or `loss focal instead of cross_entropy (gamma 2)`."""
        instead = f" instead of {self.instead}" if self.instead else ""
        return self.words + instead + _in_brackets((*self.own, *self.others))

    @property
    def num_settings(self) -> int:
        """Return how many settings differ; another network is one, whatever it is made of."""
        return 1 if self.key == "model.name" else 1 + len(self.own) + len(self.others)


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Difference]:
    """Return what differs in the settings that `theirs` has, in its order.

    A setting that `ours` lacks is no difference: another kind of section does not have it. If a section has another
    option, all its settings in `ours` are compared.
    """
    found: dict[str, Difference] = {}
    for key, their_value in theirs.items():
        section = key.partition(".")[0]
        option = f"{section}.name"
        if option in theirs and not are_alike(ours.get(option), theirs[option]):
            if option not in found:
                found[option] = _another_option(section, ours, theirs)
        elif key in ours and not are_alike(ours[key], their_value):
            found[key] = _another_value(key, ours[key], their_value)
    return list(found.values())


def value_text(value: Any) -> str:
    """Return a value of a setting in plain ASCII; of a path, its last part, because folders tell whose machine it was.

    Operations, mappings with a name, are written as `rotate (max deg 10, interpolation bilinear)`.
    """
    if value is None or value in ([], {}, ""):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, Mapping):
        settings = ", ".join(_named(key, item) for key, item in value.items() if key != "name")
        return f"{value['name']} ({settings})" if settings and "name" in value else str(value.get("name", settings))
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [value_text(item) for item in value]
        return " and ".join(items) if all(isinstance(item, Mapping) for item in value) else f"[{', '.join(items)}]"
    return re.split(r"[\\/]", str(value).rstrip("\\/"))[-1].encode("ascii", "backslashreplace").decode()


def _another_option(section: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Difference:
    """Return the option that `ours` has of a group, with those of its settings that `theirs` lacks or has otherwise.

    A setting that is off, or whose value the option's name ends with, is left out.
    """
    key = f"{section}.name"
    option = value_text(ours.get(key))
    own: list[str] = []
    others: list[str] = []
    for setting, value in ours.items():
        text = value_text(value)
        is_said = text == NONE or f"_{option}".endswith(f"_{text}") or are_alike(value, theirs.get(setting))
        if setting.startswith(f"{section}.") and not is_said:
            words = words_of(setting, value, theirs.get(setting), of_section=False)
            (own if are_alike(theirs.get(setting), None) else others).append(words)
    words = f"{GROUPS.get(section, section)} {option}"
    return Difference(key, words, value_text(theirs[key]), tuple(own), tuple(others))


def _another_value(key: str, ours: Any, theirs: Any) -> Difference:
    is_off = are_alike(theirs, None) or _are_operations(theirs)
    return Difference(key, words_of(key, ours, theirs), "" if is_off else value_text(theirs))


def words_of(key: str, ours: Any, theirs: Any, *, of_section: bool = True) -> str:
    """Return `learning rate 0.01`; of operations, only what `theirs` has not.

    Args:
        of_section: whether the name of the section is part of the words, as in `split val fraction 0.2`.
    """
    if key not in WORDS:
        section, _, name = key.partition(".")
        is_named = of_section and section not in UNSAID
        return _named((key if is_named else name or key).replace(".", " "), ours)
    if ours and _are_operations(ours) and _are_operations(theirs):
        return "other " + WORDS[key].format(" and ".join(_changed_operations(ours, theirs)))
    return re.sub(r"^1 (.+)s$", r"1 \1", WORDS[key].format(value_text(ours)))  # 1 epoch


def _changed_operations(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each operation that `theirs` has not or has otherwise, those that it has beyond, and another order."""
    names, others = ([one.get("name") for one in operations] for operations in (ours, theirs))
    yield from (value_text(one) for one in ours if one not in theirs)
    yield from (f"without {name}" for name in others if name not in names)
    if [name for name in names if name in others] != [name for name in others if name in names]:
        yield f"in the order {', '.join(map(str, names))}"


def _are_operations(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and all(isinstance(one, Mapping) for one in value)


def are_alike(one: Any, other: Any) -> bool:
    """Return whether two values of a setting are equal; what is absent, empty or `none` is off."""
    return bool(one == other) or (value_text(one) == value_text(other) == NONE)


def _named(name: str, value: Any) -> str:
    return f"{name.replace('_', ' ')} {value_text(value)}"


def _in_brackets(texts: Sequence[str]) -> str:
    return f" ({', '.join(texts)})" if texts else ""

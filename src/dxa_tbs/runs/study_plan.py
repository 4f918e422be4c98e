"""study.yaml: the question of a study, stated before its first run. Never imports torch.

An example of outputs/<name>/study.yaml:

    question: Does Model 4 reach a higher AUC than SqueezeNet retrained whole?
    primary_metric: auc                 # auc, f1 or accuracy
    first: adhoc/model4                 # <approach>/<model>, also with settings: adhoc/model4 optimizer.lr=0.001
    second: full/squeezenet             # or slope: the baseline on the slope of the variogram
    margin: 0.0                         # the first must exceed the second by more than this; below 0: non-inferiority
    seeds: 5                            # trainings of each
    smallest_difference: 0.05           # the smallest difference of interest
    stated: 2026-03-01                  # the day it was written

Each run records the hash of the plan at its start. The report compares it with that of the present plan.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dxa_tbs.errors import Refusal

FILE = "study.yaml"
METRICS = ("auc", "f1", "accuracy")
SLOPE = "slope"
EXPERIMENT = re.compile(r"[^\s/=]+(/[^\s/=]+)+(\s+[\w.]+=\S+)*")


@dataclass(frozen=True)
class StudyPlan:
    """The question of a study, and how it is answered.

    Attributes:
        primary_metric: one of METRICS.
        first, second: experiments, each <approach>/<model> or a run folder, then settings; `second` may be SLOPE.
        margin: the first must exceed the second by more than this; below 0, how much worse it may be.
        seeds: trainings of each experiment.
        smallest_difference: of the primary metric, of interest.
        stated: the day on which the plan was written.
    """

    question: str
    primary_metric: str
    first: str
    second: str
    margin: float
    seeds: int
    smallest_difference: float
    stated: datetime.date


def read_plan(folder: Path) -> StudyPlan | None:
    """Return the plan in a study's folder, None if there is no study.yaml.

    Raises:
        Refusal: the file does not hold a plan.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"{path}: is no YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(given, dict):
        raise Refusal(f"{path}: holds no settings: it needs {', '.join(_fields())}")
    if problems := list(_problems(given)):
        raise Refusal(f"{path}: {problems[0]}", problems[1:])
    return StudyPlan(**{name: kind(given[name]) for name, kind in _fields().items()})


def write_plan(folder: Path, plan: StudyPlan) -> Path:
    """Write study.yaml into the folder of a study that has none.

    Raises:
        Refusal: there is a plan already, or a value is not valid.
    """
    path = folder / FILE
    values = dataclasses.asdict(plan)
    if problems := list(_problems(values)):
        raise Refusal(problems[0], problems[1:])
    if path.exists():
        raise Refusal(f"{path}: states a plan already, which must not change: give another study name")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8", newline="\n")
    return path


def plan_sha256(folder: Path) -> str | None:
    """Return the hash of study.yaml in a study's folder, the same for all line endings; None if there is none."""
    path = folder / FILE
    if not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _fields() -> dict[str, Any]:
    def day(value: Any) -> datetime.date:
        return value if isinstance(value, datetime.date) else datetime.date.fromisoformat(value)

    kinds = {"str": str, "float": float, "int": int, "datetime.date": day}
    return {field.name: kinds[str(field.type)] for field in dataclasses.fields(StudyPlan)}


def _problems(given: dict[str, Any]) -> list[str]:
    fields = _fields()
    found = []
    for name in given:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1)
            found.append(f"{name}: no such setting" + (f": did you mean {near[0]}?" if near else ""))
    found += [f"{name} is missing" for name in fields if given.get(name) is None]
    for name, kind in fields.items():
        if given.get(name) is None:
            continue
        value = given[name]
        try:
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if (kind in (int, float) and not is_number) or (kind is int and int(value) != value):
                raise ValueError
            kind(value)
        except (TypeError, ValueError, OverflowError):
            found.append(f"{name}={value}: must be {_needed(kind)}")
    if found:
        return found
    if given["primary_metric"] not in METRICS:
        found.append(f"primary_metric={given['primary_metric']}: must be one of {', '.join(METRICS)}")
    found += [f"{name} is empty" for name in ("question", "first", "second") if not given[name].strip()]
    for name in ("first", "second"):
        if given[name].strip() != SLOPE and not EXPERIMENT.fullmatch(given[name].strip()):
            found.append(f"{name}={given[name]}: must be <approach>/<model>, with settings behind it if need be")
    if given["first"] == given["second"]:
        found.append(f"first={given['first']}: must differ from second")
    if given["first"] == SLOPE:
        found.append(f"first={SLOPE}: the baseline can only be second")
    if not -1 < given["margin"] < 1:
        found.append(f"margin={given['margin']}: must lie between -1 and 1")
    if given["seeds"] < 1:
        found.append(f"seeds={given['seeds']}: must be 1 or more")
    if not 0 < given["smallest_difference"] < 1:
        found.append(f"smallest_difference={given['smallest_difference']}: must lie between 0 and 1")
    return found


def _needed(kind: Any) -> str:
    return {str: "text", float: "a number", int: "a whole number"}.get(kind, "a day, such as 2026-03-01")

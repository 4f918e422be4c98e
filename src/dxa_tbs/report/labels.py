"""What an experiment is called, and the columns that name it in every table."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dxa_tbs.report.departures import Difference, differences
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import marks_of
from dxa_tbs.report.nearest import named_settings, nearest_place, papers_settings

MAX_DIFFERENCES = 3  # in a name
MAX_CHARACTERS = 60  # of each of them
CODE = "code of"  # and the setting that names it: the start of its SHA-256
LAST_RESORTS = ("name", CODE)  # what is said only if nothing else tells two experiments apart


def label(experiment: Experiment) -> str:
    """Return the name of an experiment: network, approach, what tells it apart, its test set if there are several."""
    parts = [f"{experiment.model} {experiment.approach}", experiment.apart]
    number = f" ({experiment.number})" if experiment.number > 1 else ""
    return ", ".join(filter(None, parts)) + number + (f", {experiment.set_name}" if experiment.set_name else "")


def tell_apart(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Return the experiments, in their order, with names that say what differs among those of a network and approach.

    An experiment with the paper's settings keeps the bare name, and so does one without others to tell it from. Numbers
    tell apart those that no setting distinguishes, such as evaluations of several runs.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, one in enumerate(experiments):
        groups.setdefault((one.model, one.approach, one.control, one.test_set), []).append(place)
    named = list(experiments)
    for places in groups.values():
        for place, apart in zip(places, _apart([experiments[place] for place in places]), strict=True):
            named[place] = dataclasses.replace(experiments[place], apart=apart)
    seen: dict[tuple[str, str], int] = {}
    for place, one in enumerate(named):
        key = label(one), one.control
        seen[key] = seen.get(key, 0) + 1
        named[place] = dataclasses.replace(one, number=seen[key])
    return named


def _apart(members: Sequence[Experiment]) -> list[str]:
    """Return for each of several experiments of one network and approach what differs, in a few words."""
    if len(members) == 1:
        return [""]
    every = [_distinguishing(one) for one in members]
    papers = _unmentioned(members[0])
    beyond = {key: None for settings in every for key in settings if key not in papers}
    usual = papers | {key: every[0].get(key) for key in sorted(beyond, key="name".__eq__)}
    found = [differences(beyond | settings, usual) for settings in every]
    shared = set.intersection(*({(one.key, one.short) for one in of_member} for of_member in found))
    apart = [[one for one in of_member if (one.key, one.short) not in shared] for of_member in found]
    names = [""] * len(members)
    for words in (_in_short, _with_details, _with_everything):
        named = [_in_few_words(words(of_member)) for of_member in apart]
        names = [new if names.count(old) > 1 else old for old, new in zip(names, named, strict=True)]
    return names


def _in_short(found: Sequence[Difference]) -> list[str]:
    return [one.text for one in found if not one.key.startswith(LAST_RESORTS)]


def _with_details(found: Sequence[Difference]) -> list[str]:
    return [one.short for one in found if not one.key.startswith(LAST_RESORTS)]


def _with_everything(found: Sequence[Difference]) -> list[str]:
    return [one.short for one in found]


def _distinguishing(one: Experiment) -> dict[str, Any]:
    """Return the settings by which experiments of one network and approach are told apart."""
    settings = named_settings(one)
    settings |= {f"{CODE} {key}": sha256[:8] for key, sha256 in one.first.facts.get("code_sha256", {}).items()}
    return settings | ({"seed": one.seeds[0]} if one.is_evaluation else {})


def _unmentioned(one: Experiment) -> dict[str, Any]:
    """Return the paper's settings, which need no mention; those of the nearest network, if the paper has not this."""
    approach, model = nearest_place(one)
    papers = papers_settings(approach, model)
    if (approach, model) == (one.approach, one.model):
        return papers
    return {key: value for key, value in papers.items() if key.partition(".")[0] not in ("model", "approach")}


def _in_few_words(texts: Sequence[str]) -> str:
    shown = [textwrap.shorten(text, MAX_CHARACTERS, placeholder=" ...") for text in texts[:MAX_DIFFERENCES]]
    return ", ".join(shown) + (f" and {len(texts) - len(shown)} more" if len(texts) > len(shown) else "")


def naming_columns(experiment: Experiment) -> dict[str, Any]:
    """Return the first columns of every table of experiments: experiment, marks, seeds (how many) and run."""
    return {
        "experiment": label(experiment),
        "marks": marks_of(experiment),
        "seeds": len(experiment.seeds),
        "run": experiment.folder,
    }


def printed_name(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the first columns of every printed table of experiments; `row` has those of `naming_columns`."""
    seeds = "" if pd.isna(row["seeds"]) else str(row["seeds"])  # a baseline has none
    return {"Experiment": row["experiment"], "Marks": row["marks"], "Seeds": seeds}


def sampling_units(experiments: Sequence[Experiment]) -> str:
    """Return what the intervals sample: patients, or images if the patient of an image is not known."""
    return "patients" if all(one.knows_patients for one in experiments) else "images"

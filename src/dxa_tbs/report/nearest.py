"""The nearest of the paper's fourteen experiments to one of the user's own, and what differs from it.

Dataset and split are the study's conditions: they make no experiment an own one. They count as differences only from
another experiment of the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dxa_tbs.report.departures import Difference, are_alike, differences
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.paper import RESULTS, TABLE_II, protocol
from dxa_tbs.report.runs import NOT_OF_THE_EXPERIMENT
from dxa_tbs.runs.identity import flatten_without

UNNAMED = {*NOT_OF_THE_EXPERIMENT} - {"model.weights"}
CONDITIONS = ("dataset", "split")


@dataclass(frozen=True)
class Nearest:
    """The nearest of the paper's experiments.

    Attributes:
        approach, model: of the paper's experiment.
        differences: from `experiment` if both were tested on the same images, else from the paper.
        experiment: the finished experiment of this study that stands for it, if there is one.
        shared: how `experiment` itself departs from the paper's settings, as the user's experiment does too; in words.
        is_paired: whether both were tested on the same images.
    """

    approach: str
    model: str
    differences: list[Difference]
    experiment: Experiment | None
    shared: list[str]
    is_paired: bool


def papers_settings(approach: str, model: str) -> dict[str, Any]:
    """Return the protocol of one of the paper's experiments, with its network, without the study's conditions."""
    network: dict[str, Any] = {"model.name": model, "model.architecture": model}
    if model in TABLE_II:
        architecture = TABLE_II[model]
        network = {"model.name": model, "model.weights": "none", "model.filters": [*architecture.filters]}
        network["model.fc_widths"] = [*architecture.fc_widths]
    settings = {**network, "approach.name": approach, **protocol(approach, model)}
    return {key: value for key, value in settings.items() if key.partition(".")[0] not in CONDITIONS}


def named_settings(one: Experiment) -> dict[str, Any]:
    """Return the settings that distinguish experiments and may be shown; a path may not, but for a file of weights."""
    return {
        key: value
        for key, value in flatten_without(UNNAMED, one.first.config).items()
        if key == "model.weights" or not _is_path(value)
    }


def own_departures(one: Experiment) -> list[Difference]:
    """Return what differs from the nearest of the paper's experiments; nothing for one of the fourteen."""
    return _from_paper(one, nearest_place(one))


def num_departures(one: Experiment) -> int:
    """Return in how many settings an experiment differs from the nearest of the paper's."""
    return sum(found.num_settings for found in own_departures(one))


def nearest_place(one: Experiment) -> tuple[str, str]:
    """Return approach and model of the nearest of the paper's experiments, whatever the study has finished."""
    return min(_places(one), key=lambda place: _distance(_from_paper(one, place)))


def find_nearest(one: Experiment, others: Sequence[Experiment]) -> Nearest:
    """Return the nearest of the paper's experiments.

    For one of the paper's networks in its approach that is the paper's own. For another network it is one of the same
    approach, if the paper has it, that differs in the fewest settings. Of several, the first that the study has
    finished on the same test images is taken, then the first in the paper's order.

    Args:
        others: all experiments of the study.
    """

    def rank(place: tuple[str, str]) -> tuple[bool, int, bool]:
        return *_distance(_from_paper(one, place)), not _is_paired(one, _stand_in(one, place, others))

    place = min(_places(one), key=rank)
    stand_in = _stand_in(one, place, others)
    is_paired = _is_paired(one, stand_in)
    if stand_in is None or not is_paired:
        return Nearest(*place, _from_paper(one, place), stand_in, [], is_paired)
    shared = [found.short for found in own_departures(stand_in)]
    return Nearest(*place, _between(one, stand_in), stand_in, shared, is_paired)


def _stand_in(one: Experiment, place: tuple[str, str], others: Sequence[Experiment]) -> Experiment | None:
    """Return the finished experiment that stands for one of the paper's.

    It departs from the paper's settings, if at all, only where `one` departs in the same way, as all experiments of a
    quick study do, and less. The same test images come first, then the fewest departures, then the fewest differences
    from `one`.
    """
    found: dict[tuple[bool, int, int, int], Experiment] = {}
    for other in others:
        is_candidate = other.is_papers and (other.approach, other.model) == place and other.folder != one.folder
        if is_candidate and other.is_evaluation == one.is_evaluation and _departs_as(other, one, place):
            departures = num_departures(other)
            if not one.is_papers or departures < num_departures(one):
                found[other.test_set != one.test_set, departures, len(_between(one, other)), len(found)] = other
    return found[min(found)] if found else None


def _departs_as(other: Experiment, one: Experiment, place: tuple[str, str]) -> bool:
    """Return whether each setting of `other` that is not the paper's has the same value in `one`."""
    papers = papers_settings(*place)
    theirs, ours = named_settings(other), named_settings(one)
    options = {found.key.partition(".")[0] for found in differences(theirs, papers) if found.key.endswith(".name")}
    return all(
        are_alike(ours.get(key), value)
        for key, value in theirs.items()
        if key.partition(".")[0] in options or (key in papers and not are_alike(value, papers[key]))
    )


def _between(one: Experiment, other: Experiment) -> list[Difference]:
    """Return what differs between two experiments of the study, in all their settings."""
    ours, theirs = named_settings(one), named_settings(other)
    every = {key: None for key in theirs | ours if key != "name"}
    return differences(every | ours, {key: theirs.get(key) for key in every})


def _places(one: Experiment) -> list[tuple[str, str]]:
    """Return approach and model of those of the paper's experiments that may be the nearest."""
    if one.is_papers:
        return [(one.approach, one.model)]
    return [(table.approach, model) for table in RESULTS for model in table.rows]


def _from_paper(one: Experiment, place: tuple[str, str]) -> list[Difference]:
    return differences(one.first.settings, papers_settings(*place))


def _is_paired(one: Experiment, other: Experiment | None) -> bool:
    return other is not None and other.test_set == one.test_set


def _distance(found: Sequence[Difference]) -> tuple[bool, int]:
    """Return a sort key: the same approach first, then the fewest settings."""
    return any(one.key == "approach.name" for one in found), sum(one.num_settings for one in found)


def _is_path(value: object) -> bool:
    return isinstance(value, str) and ("/" in value or "\\" in value)

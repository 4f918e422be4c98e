"""The primary result: the comparison that a study plan named before the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import yaml

from dxa_tbs.errors import Refusal
from dxa_tbs.evaluation.comparisons import Comparison, compare, smallest_difference
from dxa_tbs.evaluation.intervals import Estimate
from dxa_tbs.evaluation.measured import Scored
from dxa_tbs.report.documents import Document, number, p_value, with_interval
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain_marks, marks_of
from dxa_tbs.report.labels import label
from dxa_tbs.report.numbers.baselines import ALPHA, SLOPE
from dxa_tbs.report.numbers.splits import SplitResults
from dxa_tbs.report.numbers.trainings import what_it_covers
from dxa_tbs.runs.study_plan import FILE, StudyPlan, plan_sha256, read_plan
from dxa_tbs.runs.study_plan import SLOPE as PLANNED_SLOPE

if TYPE_CHECKING:
    from dxa_tbs.report.study import Study  # which holds a Primary

NAMES = {"auc": "AUC", "f1": "F1-score", "accuracy": "accuracy"}
NO_PLAN = (
    "No endpoint was stated before these runs (there is no study.yaml), so every comparison here is exploratory: "
    "python -m dxa_tbs.plan states one for the next study."
)

SEVERAL = (
    "Several studies lie below this folder, so every comparison here is exploratory: build a report from each study's "
    "own folder to see its primary result."
)


@dataclass(frozen=True)
class Primary:
    """Answer to the question that a study plan asked.

    Attributes:
        lines: sentences, the most important first.
        document: the same in numbers; None if the comparison could not be made.
        runs: folders of the first runs of both experiments, or SLOPE, in the plan's order; empty if not both are there.
    """

    lines: list[str]
    document: Document | None = None
    runs: tuple[str, ...] = ()
    metric: str = ""


def primary_table(study: Study) -> list[Document]:
    """Return the primary comparison, if one was planned and could be made."""
    return [] if study.primary.document is None else [study.primary.document]


def primary_result(
    root: Path, splits: Sequence[SplitResults], banner: Sequence[str], *, left_out: Sequence[str] = ()
) -> Primary:
    """Return the primary result of the study below `root`.

    Args:
        left_out: a line for each run that is in no table. If one of them belongs to the comparison, the comparison is
            not the planned one and is not made.
    """
    experiments = [one for split in splits for one in split.experiments]
    folder = _study_folder(root, experiments)
    try:
        plan = None if folder is None else read_plan(folder)
    except Refusal as refusal:
        return Primary([f"The plan of this study cannot be read: {refusal}. Every comparison here is exploratory."])
    if plan is None or folder is None:
        return Primary([SEVERAL if folder is None and any(root.glob(f"*/{FILE}")) else NO_PLAN])
    controls = [one for split in splits for one in split.controls]
    stated = _was_stated_first(folder, plan, [*experiments, *controls])
    try:
        first = _find(experiments, plan.first, left_out)
        split = next(one for one in splits if first in one.experiments)
        second = _second(split, plan, left_out)
    except LookupError as error:
        return Primary([f"The primary comparison cannot be made: {error.args[0]}.", *stated])
    return _compare(plan, first, second, stated, banner)


def _compare(
    plan: StudyPlan, first: Experiment, second: Experiment | Scored, stated: Sequence[str], banner: Sequence[str]
) -> Primary:
    """Return the result of a plan whose two sides were found."""
    is_slope = isinstance(second, Scored)
    found = compare(first.scored, second if isinstance(second, Scored) else second.scored)[plan.primary_metric]
    names = {"first": label(first), "second": SLOPE, "first_marks": marks_of(first), "second_marks": ""}
    trained = [first]
    if not isinstance(second, Scored):
        names |= {"second": label(second), "second_marks": marks_of(second)}
        trained.append(second)
    fewest = min(one.num_trainings for one in trained)
    lines = [
        _answer(plan, names, found, num_trainings=fewest),
        what_it_covers(*trained),
        *_fewer_seeds(plan, trained),
        *stated,
        "All other comparisons are exploratory.",
    ]
    runs = (*(one.folder for one in trained), *([SLOPE] if is_slope else []))
    document = _document(plan, names, found, [*banner, *lines[1:], *explain_marks(trained)])
    return Primary(lines, document, runs, plan.primary_metric)


def _study_folder(root: Path, experiments: Sequence[Experiment]) -> Path | None:
    """Return the folder whose plan counts: `root` itself, or the only study below it."""
    if plan_sha256(root) is not None:
        return root
    studies = {one.folder.split("/")[0] for one in experiments}
    return root / studies.pop() if len(studies) == 1 else None


def _find(experiments: Sequence[Experiment], wanted: str, left_out: Sequence[str]) -> Experiment:
    """Return the experiment that a plan names: approach/model or a run folder, followed by settings it must have."""
    name, *settings = wanted.split()
    if lost := [line for line in left_out if f"/{name}/" in f"/{line}/"]:
        raise LookupError(f"a run of {name} is left out ({lost[0]})")
    named = [one for one in experiments if any(f"/{run.folder}".endswith(f"/{name}") for run in one.runs)]
    named = named or [one for one in experiments if f"{one.approach}/{one.model}" == name]
    named = [one for one in named if all(_has(one, *text.split("=", 1)) for text in settings)]
    if not named:
        raise LookupError(f"no finished experiment {wanted} on the same images")
    if len(named) > 1:
        raise LookupError(f"{len(named)} experiments are {wanted}, and the plan does not say which")
    return named[0]


def _has(one: Experiment, key: str, value: str) -> bool:
    found = str(one.first.settings.get(key))
    try:
        return float(found) == float(value)  # 0.01 is 1e-2
    except ValueError:
        return found == str(yaml.safe_load(value))


def _second(split: SplitResults, plan: StudyPlan, left_out: Sequence[str]) -> Experiment | Scored:
    return _slope(split) if plan.second == PLANNED_SLOPE else _find(split.experiments, plan.second, left_out)


def _slope(split: SplitResults) -> Scored:
    if SLOPE not in split.baselines:
        raise LookupError("the baseline on the slope of the variogram is not available for this split")
    return split.baselines[SLOPE]


def _was_stated_first(folder: Path, plan: StudyPlan, experiments: Sequence[Experiment]) -> list[str]:
    """Return a sentence on whether each run found this very plan when it started.

    An evaluation of a run's own test images never counts as planned: the training scored them before.
    """
    sha256 = plan_sha256(folder) or ""
    runs = [run for one in experiments for run in one.runs]
    others = [
        run.folder
        for run in runs
        if run.environment.get("study_sha256") != sha256
        or ("evaluated_run" in run.facts and not run.facts.get("is_external"))
    ]
    named = f"study.yaml, stated {plan.stated}, SHA-256 {sha256[:12]}"
    if not others:
        of_runs = "the one run" if len(runs) == 1 else f"each of the {len(runs)} runs"
        return [f"Stated before {of_runs} of this report ({named})."]
    return [
        f"Not stated before all runs: {len(others)} of {len(runs)} {'was' if len(others) == 1 else 'were'} made "
        f"without this plan, with another, or on test images scored before ({named}), first {others[0]}. This "
        "comparison is exploratory too."
    ]


def _fewer_seeds(plan: StudyPlan, trained: Sequence[Experiment]) -> list[str]:
    return [
        f"{label(one)}: {len(one.seeds)} of the {plan.seeds} seeds that the plan states."
        for one in trained
        if len(one.seeds) != plan.seeds
    ]


def _answer(plan: StudyPlan, names: dict[str, str], found: Comparison, *, num_trainings: int) -> str:
    difference = with_interval(Estimate(found.difference, found.low, found.high, found.test))
    as_trained = ", as trained" if num_trainings == 1 else ""
    return (
        f"Primary result: {NAMES[plan.primary_metric]} of {names['first']} minus {names['second']}: {difference}, "
        f"{p_value(found.p)} of no difference. {_judge(plan.margin, found)}{as_trained}. Question: {plan.question}"
    )


def _judge(margin: float, found: Comparison) -> str:
    """Return what the interval shows about the margin, or what the test shows if the margin is 0."""
    if math.isnan(found.low):
        return "Cannot be judged"
    if margin == 0:
        if not found.p < ALPHA:
            return "Not shown to differ"
        return f"Shown to be {'higher' if found.difference > 0 else 'lower'}"
    if found.low > margin:
        return f"Shown to be higher by more than {margin:g}" if margin > 0 else f"Shown not to be worse by {-margin:g}"
    if found.high < min(margin, 0):
        return "Shown to be lower" if margin > 0 else f"Shown to be worse by more than {-margin:g}"
    if found.high < margin:
        return f"Shown not to be higher by {margin:g}"
    return "Not shown"


def _document(plan: StudyPlan, names: dict[str, str], found: Comparison, notes: list[str]) -> Document:
    can_show = math.nan if math.isnan(found.error) else smallest_difference(found.error, found.df)
    row = {
        "metric": plan.primary_metric,
        **names,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "test": found.test,
        "margin": plan.margin,
        "smallest_difference": plan.smallest_difference,
        "can_show": can_show,
        "seeds_stated": plan.seeds,
        "stated": str(plan.stated),
    }
    printed = pd.DataFrame(
        [
            {
                "Primary comparison": f"{names['first']} minus {names['second']}",
                "Marks": "; ".join(filter(None, (names["first_marks"], names["second_marks"]))),
                "Metric": NAMES[plan.primary_metric],
                "Difference": with_interval(Estimate(found.difference, found.low, found.high, "")),
                "p of no difference": p_value(found.p),
                "Margin": f"{plan.margin:g}",
                "Smallest of interest": f"{plan.smallest_difference:g}",
                "Shown with 80 % power, about": number(can_show),
            }
        ]
    )
    return Document("primary", "Primary result", pd.DataFrame([row]), printed, [*notes, f"{found.test}; tested alone"])

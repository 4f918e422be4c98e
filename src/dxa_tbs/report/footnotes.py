"""Footnote marks: one letter for each thing to know about a number before relying on it, and the notes below tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dxa_tbs.report.departures import differences
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.paper import protocol

SYNTHETIC = "Synthetic phantom: these results show that the pipeline works, never that a model works on patients."
PARTLY_SYNTHETIC = (
    "Marked g: synthetic phantom. These results show that the pipeline works, never that a model works on patients."
)
MEANINGS = {
    "a": "random initialisation, nothing is pretrained",
    "b": "fewer epochs than the protocol",
    "c": "not computed in fp32",
    "d": "other settings than the paper's (see the notes)",
    "e": "not the paper's device (GTX 1070)",
    "f": "weights of another run, evaluated on these images",
    "g": "synthetic phantom: shows that the pipeline works, never that a model works on patients",
}
PAPERS_DEVICE = "GTX 1070"
PARTS_OF_A_RUN = 5  # name, dataset, approach, model, seed


def marks_of(experiment: Experiment) -> str:
    """Return the letters of MEANINGS that hold for every number of an experiment, in alphabetical order."""
    run = experiment.first
    found = ""
    if run.facts["initialisation"] == "none":
        found += "a"
    if experiment.is_papers:
        papers = protocol(experiment.approach, experiment.model)
        is_short = run.settings["trainer.epochs"] < papers["trainer.epochs"]
        found += "b" * is_short
        has_mark = {"trainer.epochs": is_short, "model.weights": run.settings.get("model.weights") == "none"}
        found += "d" * any(not has_mark.get(one.key) for one in differences(run.settings, papers))
    if any(run.environment.get("precision") != "fp32" for run in experiment.runs):
        found += "c"
    return "".join(sorted(found)) + "f" * ("evaluated_run" in run.facts) + ("g" if run.facts["synthetic"] else "")


def time_marks_of(experiment: Experiment) -> str:
    """Return the letters that hold for an experiment's time of ten epochs."""
    is_theirs = PAPERS_DEVICE in str(experiment.first.environment.get("device"))
    return "".join(sorted(marks_of(experiment) + "e" * (not is_theirs)))


def explain(letters: Iterable[str]) -> list[str]:
    """Return one line that says what the letters stand for; no line if there are no letters."""
    meanings = [f"{letter} = {MEANINGS[letter]}" for letter in sorted(set(letters))]
    return [f"Marks: {'; '.join(meanings)}"] if meanings else []


def explain_marks(experiments: Sequence[Experiment]) -> list[str]:
    """Return the line that explains the marks of these experiments, if they have any."""
    return explain(letter for one in experiments for letter in marks_of(one))


def notes_of(experiment: Experiment) -> list[str]:
    """Return the notes on an experiment below a table: departures from the paper, and warnings of any run."""
    notes = [f"not the paper's: {', '.join(others)}"] if (others := _not_the_papers(experiment)) else []
    if "evaluated_run" in experiment.first.facts:
        notes = [f"evaluates the weights of {evaluated_run(experiment)}"]
    elif not experiment.times_s.size:
        notes.append("no time of ten epochs: fewer were trained, or the frozen features came from the cache")
    if len({run.environment.get("device") for run in experiment.runs}) > 1:
        notes.append("run on several devices: times are those of the first")
    return notes + list(dict.fromkeys(text for run in experiment.runs for text in run.facts["warnings"]))


def _not_the_papers(experiment: Experiment) -> list[str]:
    """Return the settings of one of the paper's experiments that are not the paper's; none for another network."""
    if not experiment.is_papers:
        return []
    found = differences(experiment.first.settings, protocol(experiment.approach, experiment.model))
    return [one.words if one.key == "split.name" else one.text for one in found]  # the checklist has the split in full


def evaluated_run(experiment: Experiment) -> str:
    """Return the run whose weights are evaluated, without the folders above it, which tell whose machine it was."""
    return "/".join(re.split(r"[\\/]", experiment.first.facts["evaluated_run"].rstrip("\\/"))[-PARTS_OF_A_RUN:])

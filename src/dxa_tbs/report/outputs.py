"""Contents of an outputs folder: experiments in the paper's order, controls, and why each other run is left out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from dxa_tbs.errors import Refusal
from dxa_tbs.report.experiments import UNREADABLE, Experiment, gather_experiments
from dxa_tbs.report.labels import tell_apart
from dxa_tbs.report.nearest import num_departures
from dxa_tbs.report.paper import RESULTS, TASK, is_papers_experiment
from dxa_tbs.report.runs import Run, read_run
from dxa_tbs.runs.files import FAILED_JSON, read_json
from dxa_tbs.runs.folder import find_runs
from dxa_tbs.runs.identity import read_config
from dxa_tbs.runs.versions import NewerRun
from dxa_tbs.verification.seal import find_damage

ABSOLUTE_FOLDERS = re.compile(r"(?<![\w.-])(?:[A-Za-z]:)?[\\/](?:[^\s\\/:]+[\\/])+")


@dataclasses.dataclass(frozen=True)
class Found:
    """Experiments and controls of an outputs folder.

    Attributes:
        absent: a line for each approach of the paper without finished runs.
        left_out: a line for each run that is left out, and why.
    """

    experiments: list[Experiment]
    controls: list[Experiment]
    absent: list[str]
    left_out: list[str]

    @property
    def missing(self) -> list[str]:
        return [*self.absent, *self.left_out]


def find_experiments(root: Path) -> Found:
    """Return the experiments and controls below `root`.

    Raises:
        Refusal: `root` is not a folder, or holds no finished experiment.
    """
    if not root.is_dir():
        raise Refusal(f"{root}: no such folder: give the one that runs were written to (outputs)")
    states = find_runs(root)
    finished = [run_dir for run_dir, state in states.items() if state == "finished"]
    others = [_not_finished(root, run_dir, state) for run_dir, state in states.items() if state != "finished"]
    if not finished:
        raise Refusal(f"{root}: no finished run below it", others)
    runs, unreadable = _read_all(root, finished)
    gathered, lacking = gather_experiments(runs)
    experiments = _named([one for one in gathered if not one.control])
    controls = _named([one for one in gathered if one.control])
    if not experiments:
        only = [f"a control, no experiment: {one.folder}" for one in controls]
        raise Refusal(f"{root}: no complete experiment below it", [*others, *lacking, *unreadable, *only])
    return Found(experiments, controls, _missing(experiments), [*others, *lacking, *unreadable])


def without_folders(text: str) -> str:
    """Return a message without the folders of absolute paths, which tell whose machine it was."""
    return ABSOLUTE_FOLDERS.sub("", text)


def _read_all(root: Path, run_dirs: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs, and a line for each that is damaged."""
    runs, left_out = [], []
    for run_dir in run_dirs:
        name = run_dir.relative_to(root).as_posix()
        if damage := find_damage(run_dir):
            left_out.append(f"damaged: {name}: {damage}")
            continue
        try:
            task = read_config(run_dir)["task"]["name"]
            if task != TASK:
                left_out.append(f"of another task ({task}), which these tables do not have: {name}")
                continue
            run = read_run(root, run_dir)
            is_papers_experiment(run.config["approach"]["name"], run.config["model"])  # every table asks this
        except NewerRun as error:
            left_out.append(f"cannot be read: {name}: {without_folders(str(error))}")
            continue
        except UNREADABLE as error:
            left_out.append(f"cannot be read (of another version; {type(error).__name__}): {name}")
            continue
        runs.append(run)
    return runs, left_out


def _named(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Return the experiments in the paper's order, with what they are called."""
    names = _set_names(experiments)
    ordered = sorted(experiments, key=_papers_place)
    return tell_apart([dataclasses.replace(one, set_name=names[one.test_set]) for one in ordered])


def _set_names(experiments: Sequence[Experiment]) -> dict[str, str]:
    """Return a name for each test set: that of its dataset, with a digest where one dataset has several."""
    datasets = {one.test_set: str(one.first.config["dataset"]["name"]) for one in experiments}
    if len(datasets) == 1:
        return dict.fromkeys(datasets, "")
    several = {name for name in datasets.values() if list(datasets.values()).count(name) > 1}
    return {digest: f"{name} {digest[:4]}" if name in several else name for digest, name in datasets.items()}


def _papers_place(experiment: Experiment) -> tuple[int, str, int, str, int, str]:
    """Return a sort key: the paper's order, then other networks of each approach, then other approaches.

    Of several experiments of a network, the one nearest to the paper's settings comes first.
    """
    approaches = [table.approach for table in RESULTS]
    number, place = len(approaches), 0
    if experiment.approach in approaches:
        number = approaches.index(experiment.approach)
        models = list(RESULTS[number].rows)
        place = models.index(experiment.model) if experiment.model in models else len(models)
    return number, experiment.approach, place, experiment.model, num_departures(experiment), experiment.folder


def _missing(experiments: Sequence[Experiment]) -> list[str]:
    """Return a line for each approach of the paper that lacks finished experiments."""
    present = {(one.approach, one.model) for one in experiments if one.is_papers}
    lines = []
    for table in RESULTS:
        if lacking := [model for model in table.rows if (table.approach, model) not in present]:
            lines.append(f"no finished run: approach={table.approach} model={','.join(lacking)}")
    return lines


def _not_finished(root: Path, run_dir: Path, state: str) -> str:
    name = run_dir.relative_to(root).as_posix()
    if state == "failed":
        try:
            reason = without_folders(read_json(run_dir / FAILED_JSON)["error"])
        except (ValueError, KeyError, TypeError, OSError):
            reason = f"{FAILED_JSON}, which says why, is damaged"
        return f"failed: {name}: {reason}"
    return f"{'still running' if state == 'running' else 'not finished'}: {name}"

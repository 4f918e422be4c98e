"""Run the paper's fourteen experiments, then rebuild its tables and figures: python -m dxa_tbs.reproduce seed=0,1,2

Finished runs are skipped, failed and interrupted runs are repeated, and a failed run does not stop the others. All
other settings are those of training, such as dataset=table dataset.root=/data/dxa, and apply to every experiment.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import logging
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from dxa_tbs.config.answers import one_line_refusals
from dxa_tbs.config.checks import check_config
from dxa_tbs.config.compose import check_recipe, chosen_options, default_settings, load_config, to_plain
from dxa_tbs.config.kinds import register_schemas
from dxa_tbs.config.schema import AdhocConfig, Config, PretrainedConfig, conf_dir
from dxa_tbs.errors import Refusal
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.runs.folder import find_runs, mark_failed, state_of
from dxa_tbs.runs.identity import read_config, run_folder
from dxa_tbs.runs.records import read_epoch_times, read_timing
from dxa_tbs.workers import worker_processes

log = logging.getLogger("dxa_tbs.reproduce")

QUICK = "experiment=quick"
LISTS = ("seed", "split.fold")
CONTROL = ("adhoc", "model3", "labels.permuted_seed=0")  # the fastest network on shuffled labels: AUC must be near 0.5


@dataclass(frozen=True)
class Job:
    """One run: its configuration, the defaults of its network and dataset, and its folder."""

    config: Config
    defaults: dict[str, Any]
    run_dir: Path

    @property
    def title(self) -> str:
        control = "" if self.config.labels.permuted_seed is None else ", permuted labels"
        return f"{self.config.model.name} {self.config.approach.name} seed={self.config.seed}{control}"


def plan(overrides: Sequence[str]) -> list[Job]:
    """Return a job for each experiment, in the paper's order and then a control, repeated for each seed and fold.

    Args:
        overrides: settings of training. `seed` and `split.fold` may be lists, such as seed=0,1,2. A setting of `model`
            applies to the networks that have it.

    Raises:
        Refusal: a setting is fixed here (model, approach, evaluate), or another setting than seed and fold is a list.
    """
    typed, lists = _separate(overrides)
    check_recipe(typed)
    experiments = [(table.approach, model, "") for table in RESULTS for model in table.rows]
    settings = {(approach, model): _settings(typed, approach, model) for approach, model, _ in experiments}
    defaults = {key: default_settings(chosen_options(own), own) for key, own in settings.items()}
    jobs = []
    for repeat in itertools.product(*([f"{key}={value}" for value in values] for key, values in lists.items())):
        for approach, model, control in [*experiments, CONTROL]:
            key = approach, model
            own = [*settings[key], *repeat, *([control] if control else [])]
            config = load_config(compose("config", overrides=own))
            check_config(config)
            run_dir = run_folder(to_plain(config), defaults=defaults[key])
            jobs.append(Job(config, defaults[key], run_dir))
    return jobs


def _settings(typed: Sequence[str], approach: str, model: str) -> list[str]:
    """Return the overrides of one experiment; a setting of `model` is dropped if its network does not have it."""
    of_weights = ["model.weights=none"] if QUICK in typed and approach != "adhoc" else []
    schema = AdhocConfig if approach == "adhoc" else PretrainedConfig
    known = {f"model.{field.name}" for field in dataclasses.fields(schema)}
    return [f"model={model}", f"approach={approach}"] + [
        text
        for text in (*of_weights, *typed)
        if not text.startswith("model.") or text.split("=")[0] in known or not _is_of_some_model(text)
    ]


def _separate(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the settings shared by all runs, and the lists of values to repeat them for."""
    typed, lists = [], {"seed": ["0"]}
    for text in overrides:
        key, _, value = text.partition("=")
        if key in ("model", "approach"):
            raise Refusal(f"{text}: all networks and approaches of the paper are run: drop it")
        if key == "evaluate":
            raise Refusal(f"{text}: the paper's experiments are trained here: use dxa_tbs.train to evaluate a run")
        if key in LISTS:
            if not re.fullmatch(r"\d+(,\d+)*", value):
                raise Refusal(f"{text}: give numbers, such as {key}=0,1,2")
            if key in {other.partition("=")[0] for other in overrides if other != text}:
                raise Refusal(f"{text}: given twice: give one list, such as {key}=0,1,2")
            lists[key] = value.split(",")
        elif OverridesParser.create().parse_override(text).is_sweep_override():
            raise Refusal(f"{text}: give one value: only {' and '.join(LISTS)} may be lists here")
        else:
            typed.append(text)
    return typed, lists


def _is_of_some_model(text: str) -> bool:
    fields = {field.name for schema in (AdhocConfig, PretrainedConfig) for field in dataclasses.fields(schema)}
    return text.split("=")[0].removeprefix("model.") in fields


def show(jobs: Sequence[Job]) -> str:
    """Return the plan as text: the state of each job and, if such epochs were measured, the time it still needs."""
    measured = _measured(Path(jobs[0].config.output_root))
    lines, total_s, num_unknown = [], 0.0, 0
    for job in jobs:
        state, needed = state_of(job.run_dir), ""
        if state not in ("finished", "running"):
            most = "at most " if job.config.trainer.patience else ""
            needed = f"{most}{job.config.trainer.epochs} epochs, "
            if (times := measured.get(_protocol(to_plain(job.config)))) is None:
                num_unknown += 1
                needed += "not measured yet"
            else:
                prepare_s, epoch_s = times
                total_s += prepare_s + epoch_s * job.config.trainer.epochs
                needed += _duration(prepare_s + epoch_s * job.config.trainer.epochs)
        lines.append(f"{state:<11} {job.title:<28} {needed}".rstrip())
    unknown = f", plus runs not yet measured: {num_unknown}" if num_unknown else ""
    return "\n".join([*lines, f"to do: {_duration(total_s)}{unknown}"])


def run_all(jobs: Sequence[Job], *, at_once: int = 1) -> list[tuple[Job, str]]:
    """Run the jobs that are not finished; return the failed ones with their errors.

    Args:
        at_once: number of parallel runs, each in a process with an equal share of the cores.
    """
    titles = [f"{number} of {len(jobs)}: {job.title}" for number, job in enumerate(jobs, start=1)]
    if at_once == 1:
        outcomes = [_run(job, title) for job, title in zip(jobs, titles, strict=True)]
    else:
        tasks = (joblib.delayed(_run)(job, title) for job, title in zip(jobs, titles, strict=True))
        outcomes = worker_processes(n_jobs=at_once, batch_size=1)(tasks)
    return [(job, text) for job, text in zip(jobs, outcomes, strict=True) if text is not None]


def _run(job: Job, title: str) -> str | None:
    """Run one job unless it is finished; return the error in one line, or None if there was none."""
    from dxa_tbs.pipeline.experiment import run_experiment  # imports pandas, which --dry-run does not need
    from dxa_tbs.pipeline.terminal import progress_bars

    _log_to_terminal()  # not yet set up in a worker process
    log.info(title)
    try:
        with progress_bars() as show:
            run_experiment(job.config, defaults=job.defaults, on_progress=show)
    except Exception as error:
        text = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
        log.error("failed: %s: %s", job.title, text)
        if not isinstance(error, Refusal):
            log.debug("", exc_info=error)
        if state_of(job.run_dir) in ("to do", "unfinished", "failed"):
            mark_failed(job.run_dir, to_plain(job.config), error)
        return text.splitlines()[0]
    return None


def _log_to_terminal() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    logging.getLogger("dxa_tbs").setLevel(logging.INFO)


def _measured(root: Path) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return the median time of preparation and of an epoch with validation, in s, of each protocol below `root`."""
    found: dict[tuple[str, ...], tuple[list[float], list[float]]] = {}
    for run_dir, state in find_runs(root).items() if root.is_dir() else ():
        if state == "finished":
            try:
                protocol, of_run = _protocol(read_config(run_dir)), float(read_timing(run_dir)["prepare_s"])
                epochs_s = read_epoch_times(run_dir)
            except (ValueError, LookupError, TypeError, AttributeError, OSError, csv.Error):
                continue  # an evaluation has no times; the report names damaged runs
            prepare_s, epoch_s = found.setdefault(protocol, ([], []))
            prepare_s.append(of_run)
            epoch_s += epochs_s
    return {
        key: (statistics.median(prepare_s), statistics.median(epoch_s)) for key, (prepare_s, epoch_s) in found.items()
    }


def _protocol(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the settings on which the time of an epoch depends."""
    trainer = [config["trainer"].get(name) for name in ("batch_size", "micro_batch_size", "device", "precision")]
    split = {key: value for key, value in config["split"].items() if key not in ("seed", "fold")}
    sections = ("model", "approach", "dataset", "preprocessing", "channels", "augmentation", "loss", "sampling")
    return tuple(map(str, (*(config[name] for name in sections), split, trainer)))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="dxa-reproduce", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "overrides", nargs="*", help="settings as for training: seed=0,1,2 dataset=table dataset.root=..."
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show which runs are finished and which are to do, and stop"
    )
    parser.add_argument(
        "--quick", action="store_true", help="use few synthetic patients, two epochs and no ImageNet weights"
    )
    parser.add_argument(
        "--at-once", type=int, default=1, metavar="N", help="number of parallel runs on this machine (default: 1)"
    )
    arguments = parser.parse_intermixed_args()
    if arguments.at_once < 1:
        parser.error(f"--at-once {arguments.at_once}: give 1 or more")
    _log_to_terminal()
    with one_line_refusals():
        register_schemas()
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            jobs = plan([*([QUICK] if arguments.quick else []), *arguments.overrides])
        print(show(jobs), flush=True)
        if arguments.dry_run:
            return
        failures = run_all(jobs, at_once=arguments.at_once)
        from dxa_tbs.report.build import write_report

        root = Path(jobs[0].config.output_root, jobs[0].config.name)
        print(write_report(root), end="")
        print(f"\nwritten: {root / 'report.html'}, with tables/ and figures/ beside it")
        for job, text in failures:
            print(f"failed: {job.title}: {text}", file=sys.stderr)
        sys.exit(bool(failures))


if __name__ == "__main__":
    main()

"""Run the paper's fourteen experiments, then rebuild its tables and figures: python -m dxa_tbs.reproduce seed=0,1,2

What is finished is skipped, what failed or was interrupted is tried again, and a failure does not stop the others. All
other settings are those of training, and hold for every experiment: dataset=table dataset.root=/data/dxa.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from dxa_tbs import records
from dxa_tbs.checks import check_config
from dxa_tbs.cli import one_line_refusals
from dxa_tbs.compose import load_config, to_plain
from dxa_tbs.config import Config, conf_dir, register_schemas
from dxa_tbs.errors import Refusal
from dxa_tbs.report.paper import RESULTS

log = logging.getLogger("dxa_tbs.reproduce")

QUICK = "experiment=quick"


@dataclass(frozen=True)
class Job:
    """One run: its configuration, what would be typed to train it alone, and where it is written."""

    config: Config
    overrides: list[str]
    run_dir: Path

    @property
    def title(self) -> str:
        return f"{self.config.model.name} {self.config.approach.name} seed={self.config.seed}"


def plan(overrides: Sequence[str]) -> list[Job]:
    """Return the fourteen experiments in the paper's order, each with every seed.

    Args:
        overrides: settings of training; `seed=0,1,2` is a list, none means seed 0.

    Raises:
        Refusal: model or approach is among them: they are what is gone through.
    """
    typed = [text for text in overrides if not text.startswith("seed=")]
    seeds = next((text.removeprefix("seed=").split(",") for text in overrides if text.startswith("seed=")), ["0"])
    for override in OverridesParser.create().parse_overrides(typed):
        if override.key_or_group in ("model", "approach"):
            raise Refusal(f"{override.input_line}: all of the paper's networks and approaches are run: drop it")
        if override.is_sweep_override():
            raise Refusal(f"{override.input_line}: one value: only seed takes several here")
    jobs = []
    for seed in seeds:
        for table in RESULTS:
            for model in table.rows:
                of_weights = ["model.weights=none"] if QUICK in typed and table.approach != "adhoc" else []
                own = [f"model={model}", f"approach={table.approach}", *of_weights, *typed, f"seed={seed}"]
                config = load_config(compose("config", overrides=own))
                check_config(config)
                jobs.append(Job(config, own, records.run_folder(to_plain(config), own)))
    return jobs


def show(jobs: Sequence[Job]) -> str:
    """Return the plan: state and, where such epochs were measured, the time still needed."""
    rates = _seconds_per_epoch(Path(jobs[0].config.output_root))
    lines, total_s, num_unknown = [], 0.0, 0
    for job in jobs:
        state, needed = records.state(job.run_dir), ""
        if state not in ("finished", "running"):
            rate = rates.get(_protocol(to_plain(job.config)))
            num_unknown += rate is None
            total_s += (rate or 0.0) * job.config.trainer.epochs
            epochs = f"{'at most ' if job.config.trainer.patience else ''}{job.config.trainer.epochs} epochs"
            needed = (
                f"{epochs}, not measured yet"
                if rate is None
                else f"{epochs}, {_clock(rate * job.config.trainer.epochs)}"
            )
        lines.append(f"{state:<11} {job.title:<28} {needed}".rstrip())
    unknown = f", and {num_unknown} of which no epoch was measured yet" if num_unknown else ""
    return "\n".join([*lines, f"to do: {_clock(total_s)}{unknown}"])


def run_all(jobs: Sequence[Job]) -> list[tuple[Job, str]]:
    """Run what is not finished, going on after failures; return those, each with what went wrong."""
    from dxa_tbs.experiment import run_experiment  # here: what only shows the plan needs no pandas

    failures = []
    for number, job in enumerate(jobs, start=1):
        log.info("%d of %d: %s", number, len(jobs), job.title)
        try:
            run_experiment(job.config, job.overrides)
        except Exception as error:
            text = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
            log.error("failed: %s: %s", job.title, text)
            if not isinstance(error, Refusal):
                log.debug("", exc_info=error)
            if records.state(job.run_dir) in ("to do", "unfinished"):
                records.mark_failed(job.run_dir, to_plain(job.config), error)
            failures.append((job, text.splitlines()[0]))
    return failures


def _seconds_per_epoch(root: Path) -> dict[tuple[str, ...], float]:
    """Return the median epoch, training and validation, of each protocol among the finished runs below `root`."""
    import csv

    found: dict[tuple[str, ...], list[float]] = {}
    for run_dir, state in records.find_runs(root).items() if root.is_dir() else ():
        if state == "finished" and (run_dir / "history.csv").is_file():
            with (run_dir / "history.csv").open(encoding="utf-8", newline="") as file:
                epochs = [float(row["train_s"]) + float(row["val_s"]) for row in csv.DictReader(file)]
            found.setdefault(_protocol(records.read_config(run_dir)), []).extend(epochs)
    return {protocol: statistics.median(epochs) for protocol, epochs in found.items()}


def _protocol(config: dict[str, Any]) -> tuple[str, ...]:
    """Return what an epoch's time depends on, as far as the configuration says it."""
    trainer = [config["trainer"].get(name) for name in ("batch_size", "micro_batch_size", "device", "precision")]
    return tuple(map(str, (config["model"], config["approach"], config["dataset"], config["augmentation"], trainer)))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="dxa-reproduce", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "overrides", nargs="*", help="settings as for training: seed=0,1,2 dataset=table dataset.root=..."
    )
    parser.add_argument("--dry-run", action="store_true", help="show what is finished and what is to do, and stop")
    parser.add_argument("--quick", action="store_true", help="few synthetic patients, two epochs, no ImageNet weights")
    arguments = parser.parse_intermixed_args()
    logging.basicConfig(format="%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    logging.getLogger("dxa_tbs").setLevel(logging.INFO)
    with one_line_refusals():
        register_schemas()
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            jobs = plan([*([QUICK] if arguments.quick else []), *arguments.overrides])
        print(show(jobs), flush=True)
        if arguments.dry_run:
            return
        failures = run_all(jobs)
        from dxa_tbs.report.paper_tables import write_paper

        root = Path(jobs[0].config.output_root, jobs[0].config.name)
        print(write_paper(root), end="")
        print(f"\nwritten to {root / 'tables'} and {root / 'figures'}")
        for job, text in failures:
            print(f"failed: {job.title}: {text}", file=sys.stderr)
        sys.exit(bool(failures))


if __name__ == "__main__":
    main()

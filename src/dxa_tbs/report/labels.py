"""What an experiment is called, and the columns that name it in every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import marks_of


def label(experiment: Experiment) -> str:
    """Return the name of an experiment: network, approach, its number from the second on, its test set if several."""
    name = f"{experiment.model} {experiment.approach}"
    number = f" ({experiment.number})" if experiment.number > 1 else ""
    return name + number + (f", {experiment.set_name}" if experiment.set_name else "")


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

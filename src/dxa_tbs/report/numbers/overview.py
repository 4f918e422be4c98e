"""Overview: one row per experiment."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dxa_tbs.report.documents import ABSENT, Document, number, with_interval
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain_marks
from dxa_tbs.report.labels import label, naming_columns, printed_name
from dxa_tbs.report.numbers.trainings import count_failed, describe_failures, sd_of_auc
from dxa_tbs.report.study import Study

SHOWN = {"auc": "AUC", "sensitivity": "Sensitivity", "specificity": "Specificity", "f1": "F1-Score"}


def overview_table(study: Study) -> list[Document]:
    """Return one row per experiment, the best AUC on validation first within each test set."""
    sets = [one.test_set for one in study.experiments]
    order = sorted(study.experiments, key=lambda one: (sets.index(one.test_set), -np.nan_to_num(one.val_auc, nan=-1)))
    frame = pd.DataFrame(_row(one) for one in order)
    printed = pd.DataFrame(_print(one) for one in order)
    notes = [
        *study.banner,
        "by the AUC on validation (originals alone). 95 % intervals of the test figures, one seed: this training on "
        "other patients; several seeds: other trainings too",
        *(f"{label(one)}: {text}" for one in order if (text := describe_failures(one))),
        *explain_marks(order),
    ]
    return [Document("overview", "All experiments", frame, printed, notes)]


def _row(one: Experiment) -> dict[str, object]:
    metrics = {
        f"{name}_{part}": getattr(one.estimates[name], part) for name in SHOWN for part in ("value", "low", "high")
    }
    return (
        naming_columns(one)
        | {"test_set": one.test_set, "n": len(one.scored.labels), "val_auc": one.val_auc, "auc_sd": sd_of_auc(one)}
        | {"auc_of_seeds": " ".join(map(number, one.auc_of_each)), "failed": count_failed(one)}
        | metrics
    )


def _print(one: Experiment) -> dict[str, str]:
    return {
        **printed_name(naming_columns(one)),
        "n": str(len(one.scored.labels)),
        "AUC on validation": number(one.val_auc),
        **{text: with_interval(one.estimates[name]) for name, text in SHOWN.items()},
        "AUC, SD over seeds": number(sd_of_auc(one)),
        "AUC of each seed": " ".join(map(number, one.auc_of_each)) if len(one.seeds) > 1 else ABSENT,
        "Run": one.folder,
    }

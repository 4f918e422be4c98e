"""Networks against logistic regression on the slope of the variogram alone."""

from __future__ import annotations

import dataclasses

import pandas as pd

from dxa_tbs.evaluation.comparisons import compare, holm, smallest_difference
from dxa_tbs.evaluation.intervals import Estimate, estimates
from dxa_tbs.report.documents import Document, number, p_value, with_interval
from dxa_tbs.report.footnotes import explain_marks
from dxa_tbs.report.labels import naming_columns, printed_name
from dxa_tbs.report.numbers.baselines import ALPHA, SLOPE
from dxa_tbs.report.numbers.splits import SplitResults
from dxa_tbs.report.study import Study


def against_slope_tables(study: Study) -> list[Document]:
    """Return a table for each split that has the baseline on the slope."""
    documents = []
    for place, split in enumerate(study.splits, start=1):
        if SLOPE in split.baselines:
            several = len(study.splits) > 1
            name, of_set = (f"against_slope_{place}", f", {split.name}") if several else ("against_slope", "")
            frame = against_slope(split)
            title = f"Networks against the variogram slope alone{of_set}"
            documents.append(Document(name, title, frame, _print(frame), [*study.banner, *_notes(split, frame)]))
    return documents


def against_slope(split: SplitResults) -> pd.DataFrame:
    """Compare the AUC of each experiment on a split with that of the variogram slope.

    Returns:
        One row per experiment: both AUCs, their difference with its 95 % interval, p, p after Holm (a primary
        comparison is tested alone), the approximate difference found with 80 % power (`can_show`), and `beats`.
    """
    slope, rows = split.baselines[SLOPE], []
    reached = estimates(slope)["auc"]
    for one in split.experiments:
        found = compare(one.scored, slope)["auc"]
        names = naming_columns(one) | {"n": len(slope.labels)}
        aucs = {"auc": one.estimates["auc"].value, "auc_of_slope": reached.value}
        rows.append({**names, **aucs, **dataclasses.asdict(found)})
    frame = pd.DataFrame(rows)
    others = frame["run"] != split.primary_run
    frame["p_holm"] = frame["p"]
    frame.loc[others, "p_holm"] = holm(frame.loc[others, "p"].tolist())
    frame["can_show"] = [smallest_difference(row.error, row.df) for row in frame.itertuples()]
    return frame.assign(beats=(frame["difference"] > 0) & (frame["p_holm"] < ALPHA))


def _print(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        printed_name(row)
        | {
            "n": str(row["n"]),
            "AUC": number(row["auc"]),
            "AUC of the slope": number(row["auc_of_slope"]),
            "Difference": with_interval(Estimate(row["difference"], row["low"], row["high"], row["test"])),
            "Holm": p_value(row["p_holm"]),
            "Shown with 80 % power": number(row["can_show"]),
            "Beats the slope": "yes" if row["beats"] else "no",
        }
        for row in frame.to_dict("records")
    )


def _notes(split: SplitResults, frame: pd.DataFrame) -> list[str]:
    tests = "; ".join(sorted(set(frame["test"])))
    notes = [
        f"{tests}; a network beats the slope if the difference is above 0 and p, after Holm, is below {ALPHA:g}",
        "shown with 80 % power: about the smallest true difference that a test on these images and trainings would "
        "find, without correction",
    ]
    if any(one.num_trainings == 1 for one in split.experiments):
        notes.append("one training: this trained network against the slope; another training could differ")
    return notes + explain_marks(split.experiments)

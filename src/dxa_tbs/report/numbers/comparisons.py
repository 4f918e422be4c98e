"""Experiments compared in pairs on the same test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.comparisons import compare, holm, needed_t
from dxa_tbs.report.documents import Document, p_value
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain, marks_of
from dxa_tbs.report.labels import label, sampling_units
from dxa_tbs.report.numbers.primary import Primary
from dxa_tbs.report.study import Study

COMPARED = {"auc": "AUC", "f1": "F1-Score", "accuracy": "Accuracy"}


def compare_all(experiments: Sequence[Experiment], primary: Primary) -> pd.DataFrame:
    """Compare every pair of experiments tested on the same images.

    The primary comparison is tested alone; Holm's correction is over all other pairs of a test set and metric.

    Returns:
        One row per pair and metric, or an empty frame. Columns: test_set, metric, first, second (labels), first_marks,
        second_marks, first_run, second_run, trainings (the fewer of the two), is_primary, difference, low, high, p,
        p_holm, test, error, df, needed_t (the |t| that the first of so many tests needs), and low, high and p for these
        trained networks alone.
    """
    rows = []
    for test_set in dict.fromkeys(experiment.test_set for experiment in experiments):
        members = [experiment for experiment in experiments if experiment.test_set == test_set]
        for first, second in combinations(members, 2):
            rows += [{"test_set": test_set} | row for row in _pair(first, second, primary)]
    if not rows:
        return pd.DataFrame()
    return pd.concat([_corrected(part) for _, part in pd.DataFrame(rows).groupby(["test_set", "metric"], sort=False)])


def _pair(first: Experiment, second: Experiment, primary: Primary) -> Iterator[dict[str, Any]]:
    """Yield a row per metric."""
    both = compare(first.scored, second.scored)
    alone = compare(first.scored, second.scored, training=False)
    names = {"first": label(first), "second": label(second)}
    names |= {"first_marks": marks_of(first), "second_marks": marks_of(second)}
    names |= {"first_run": first.folder, "second_run": second.folder}
    trainings = min(first.num_trainings, second.num_trainings)
    for metric, found in both.items():
        is_primary = metric == primary.metric and {first.folder, second.folder} == set(primary.runs)
        yield (
            {"metric": metric, **names, "trainings": trainings, "is_primary": is_primary}
            | dataclasses.asdict(found)
            | {f"{name}_networks": getattr(alone[metric], name) for name in ("low", "high", "p")}
        )


def comparison_tables(study: Study) -> list[Document]:
    """Return a matrix for each test set and metric."""
    documents = []
    sets = list(dict.fromkeys(one.test_set for one in study.experiments))
    several = [f"{len(sets)} test sets: experiments on different images are not compared"] if len(sets) > 1 else []
    for test_set in sets if not study.compared.empty else []:
        of_set = study.compared[study.compared["test_set"] == test_set]
        for metric, heading in COMPARED.items() if not of_set.empty else ():
            numbers = of_set[of_set["metric"] == metric]
            name = f"comparison_{metric}" + (f"_{test_set}" if several else "")
            title = f"Comparisons: {heading}" + (f", test set {test_set}" if several else "")
            letters = "".join([*numbers["first_marks"], *numbers["second_marks"]])
            described = _describe(numbers, units=sampling_units(study.experiments))
            notes = [*study.banner, *described, *several, *explain(letters)]
            documents.append(Document(name, title, numbers, _print(numbers), notes))
    return documents


def _corrected(pairs: pd.DataFrame) -> pd.DataFrame:
    """Add p_holm and needed_t to the pairs of one test set and metric."""
    others = ~pairs["is_primary"]
    corrected = pairs["p"].copy()
    corrected[others] = holm(pairs.loc[others, "p"].tolist())
    pairs.insert(pairs.columns.get_loc("p") + 1, "p_holm", corrected)
    num_tests = np.where(others, others.sum(), 1)
    needed = [needed_t(df, num) for df, num in zip(pairs["df"], num_tests, strict=True)]
    pairs.insert(pairs.columns.get_loc("df") + 1, "needed_t", needed)
    return pairs


def _describe(pairs: pd.DataFrame, *, units: str) -> list[str]:
    """Return the notes below the comparisons of one test set and metric.

    Args:
        units: what the intervals sample, patients or images.
    """
    tests = "; ".join(sorted(set(pairs["test"])))
    notes = [f"row minus column; {tests}; p-values after Holm, over {_count(int((~pairs['is_primary']).sum()))}"]
    if pairs["is_primary"].any():
        notes[0] += ", the primary comparison tested alone"
    needed = pairs.loc[pairs["needed_t"].notna() & ~pairs["is_primary"], "needed_t"]
    if len(needed):
        bounds = [f"{needed.min():.1f}", f"{needed.max():.1f}"]
        notes.append(
            f"for p below 0.05 after Holm, the clearest difference needs |t| of {' to '.join(dict.fromkeys(bounds))}"
        )
    fewest, most = pairs["trainings"].min(), pairs["trainings"].max()
    if fewest == 1:
        notes.append(
            f"one training{' of either' if most > 1 else ''}: a difference of these trained networks on other {units}; "
            "it says nothing about the architectures"
        )
    if fewest <= 2 <= most:
        notes.append("two trainings: the error includes what training adds, with hardly any power")
    if most > 2:
        notes.append("several trainings: the error includes what training adds; intervals without it are in the CSV")
    return notes


def _count(num_pairs: int) -> str:
    return "1 pair" if num_pairs == 1 else f"{num_pairs} pairs"


def _print(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the matrix of one metric and test set: row minus column, and its corrected p-value."""
    first = rows[["first_run", "first", "first_marks"]].to_numpy().tolist()
    second = rows[["second_run", "second", "second_marks"]].to_numpy().tolist()
    named = {run: (text, marks) for run, text, marks in [*first, *second]}
    cells = pd.DataFrame("", index=list(named), columns=list(named))
    for row in rows.itertuples():
        p = p_value(row.p_holm)
        cells.loc[row.first_run, row.second_run] = f"{row.difference:+.3f} ({p})"
        cells.loc[row.second_run, row.first_run] = f"{0 - row.difference:+.3f} ({p})"
    cells = cells.rename(columns={run: text for run, (text, _) in named.items()})
    cells.insert(0, "Experiment", [text for text, _ in named.values()])
    cells.insert(1, "Marks", [marks for _, marks in named.values()])
    return cells

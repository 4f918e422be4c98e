"""What the paper lacks: experiments compared on the same test images, and how stable their order is over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.comparisons import compare, holm
from dxa_tbs.report.documents import p_value
from dxa_tbs.report.marks import title
from dxa_tbs.report.runs import Experiment

COMPARED = {"auc": "AUC", "f1": "F1-Score", "accuracy": "Accuracy"}


def comparisons(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return every pair of experiments tested on the same images, Holm-corrected over the pairs of a test set.

    Columns: test_set, metric, first, second (model, approach), first_run, second_run, difference, low, high, p, p_holm,
    test.
    """
    rows = []
    for test_set in dict.fromkeys(experiment.test_set for experiment in experiments):
        members = [experiment for experiment in experiments if experiment.test_set == test_set]
        for first, second in combinations(members, 2):
            for metric, found in compare(first.scored, second.scored).items():
                names = {"first": title(first), "second": title(second)}
                folders = {"first_run": first.folder, "second_run": second.folder}
                rows.append({"test_set": test_set, "metric": metric} | names | folders | dataclasses.asdict(found))
    frame = pd.DataFrame(rows)
    if not frame.empty:
        frame.insert(10, "p_holm", frame.groupby(["test_set", "metric"])["p"].transform(lambda p: holm(p.tolist())))
    return frame


def print_comparisons(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the matrix of one metric and test set: row less column, and its corrected p-value."""
    rows = frame[frame["metric"] == metric]
    names = list(dict.fromkeys([*rows["first_run"], *rows["second_run"]]))
    titles = dict(zip(rows["first_run"], rows["first"], strict=True)) | dict(
        zip(rows["second_run"], rows["second"], strict=True)
    )
    cells = pd.DataFrame("", index=names, columns=names)
    for row in rows.itertuples():
        p = p_value(row.p_holm)
        cells.loc[row.first_run, row.second_run] = f"{row.difference:+.3f} ({p})"
        cells.loc[row.second_run, row.first_run] = f"{0 - row.difference:+.3f} ({p})"
    cells = cells.rename(columns=titles)
    cells.insert(0, "", [titles[name] for name in names])
    return cells


def stability(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return how often each experiment of several seeds is best in F1 on its test set, over the seeds they all have."""
    rows = []
    for test_set in dict.fromkeys(experiment.test_set for experiment in experiments):
        members = [one for one in experiments if one.test_set == test_set and len(one.seeds) > 1]
        if len(members) < 2:
            continue
        common = sorted(set.intersection(*(set(experiment.seeds) for experiment in members)))
        if len(common) < 2:
            continue
        f1 = np.array(
            [[one.scored.values["f1"][one.seeds.index(seed)] for seed in common] for one in members]
        )  # ties are shared
        best = (f1 == f1.max(axis=0)) / (f1 == f1.max(axis=0)).sum(axis=0)
        ranks = pd.DataFrame(-f1).rank(axis=0)
        for place, experiment in enumerate(members):
            rows.append(
                {
                    "test_set": test_set,
                    "experiment": title(experiment),
                    "best_in": float(best[place].sum()),
                    "seeds": len(common),
                    "mean_rank": float(ranks.iloc[place].mean()),
                    "f1_mean": float(f1[place].mean()),
                    "f1_sd": float(f1[place].std(ddof=1)),
                    "run": experiment.folder,
                }
            )
    return pd.DataFrame(rows).sort_values(["test_set", "best_in"], ascending=[True, False]) if rows else pd.DataFrame()


def print_stability(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Experiment": frame["experiment"],
            "Best in": [f"{row.best_in:g} of {row.seeds} seeds" for row in frame.itertuples()],
            "Mean rank": [f"{row.mean_rank:.1f} (n={row.seeds})" for row in frame.itertuples()],
            "F1, mean": [f"{row.f1_mean:.3f} (n={row.seeds})" for row in frame.itertuples()],
            "F1, SD": [f"{row.f1_sd:.3f} (n={row.seeds})" for row in frame.itertuples()],
        }
    )

"""What the paper lacks: experiments compared on the same test images, and how stable their order is over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from dxa_tbs.evaluation.comparisons import compare, holm, needed_t
from dxa_tbs.report.documents import p_value
from dxa_tbs.report.footnotes import title
from dxa_tbs.report.numbers.primary import Primary
from dxa_tbs.report.runs import Experiment

COMPARED = {"auc": "AUC", "f1": "F1-Score", "accuracy": "Accuracy"}


def comparisons(experiments: Sequence[Experiment], primary: Primary) -> pd.DataFrame:
    """Return every pair of experiments tested on the same images.

    The primary comparison is tested alone; Holm's correction is over all other pairs of a test set and metric.

    Columns: test_set, metric, first, second (model, approach), first_run, second_run, trainings (the fewer of the two),
    is_primary, difference, low, high, p, p_holm, test, error, df, needed_t (the |t| that the first of so many tests
    needs), and low, high and p of these trained networks alone.
    """
    rows = []
    for test_set in dict.fromkeys(experiment.test_set for experiment in experiments):
        members = [experiment for experiment in experiments if experiment.test_set == test_set]
        for first, second in combinations(members, 2):
            both = compare(first.scored, second.scored)
            alone = compare(first.scored, second.scored, training=False)
            for metric, found in both.items():
                is_primary = metric == primary.metric and {first.folder, second.folder} == set(primary.runs)
                rows.append(
                    {"test_set": test_set, "metric": metric, "first": title(first), "second": title(second)}
                    | {"first_run": first.folder, "second_run": second.folder}
                    | {"trainings": min(first.num_trainings, second.num_trainings), "is_primary": is_primary}
                    | dataclasses.asdict(found)
                    | {f"{name}_networks": getattr(alone[metric], name) for name in ("low", "high", "p")}
                )
    if not rows:
        return pd.DataFrame()
    return pd.concat([_corrected(part) for _, part in pd.DataFrame(rows).groupby(["test_set", "metric"], sort=False)])


def _corrected(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of a test set and metric with p_holm and needed_t."""
    others = ~pairs["is_primary"]
    corrected = pairs["p"].copy()
    corrected[others] = holm(pairs.loc[others, "p"].tolist())
    pairs.insert(pairs.columns.get_loc("p") + 1, "p_holm", corrected)
    num_tests = np.where(others, others.sum(), 1)
    needed = [needed_t(df, num) for df, num in zip(pairs["df"], num_tests, strict=True)]
    pairs.insert(pairs.columns.get_loc("df") + 1, "needed_t", needed)
    return pairs


def describe_pairs(pairs: pd.DataFrame, *, units: str) -> list[str]:
    """Return what is to be said below the comparisons of a test set and metric.

    Args:
        units: what varies in the intervals, patients or images.
    """
    tests = "; ".join(sorted(set(pairs["test"])))
    notes = [f"row less column; {tests}; p-values after Holm, over the {int((~pairs['is_primary']).sum())} pairs"]
    if pairs["is_primary"].any():
        notes[0] += ", the primary comparison tested alone"
    needed = pairs.loc[pairs["needed_t"].notna() & ~pairs["is_primary"], "needed_t"]
    if len(needed):
        bounds = [f"{needed.min():.1f}", f"{needed.max():.1f}"]
        notes.append(
            f"to be below 0.05 after Holm, the clearest difference needs |t| of {' to '.join(dict.fromkeys(bounds))}"
        )
    fewest, most = pairs["trainings"].min(), pairs["trainings"].max()
    if fewest == 1:
        notes.append(
            f"one training{' of either' if most > 1 else ''}: a difference of these trained networks on other {units}, "
            "which says nothing of the architectures"
        )
    if fewest <= 2 <= most:
        notes.append("two trainings: the error holds what training adds, with hardly any power")
    if most > 2:
        notes.append("several trainings: the error holds what training adds; intervals without it stand in the CSV")
    return notes


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

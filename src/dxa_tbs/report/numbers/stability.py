"""How stable the ranking of the experiments is over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dxa_tbs.report.documents import Document
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import explain_marks, marks_of
from dxa_tbs.report.labels import label
from dxa_tbs.report.study import Study


def stability_table(study: Study) -> list[Document]:
    """Return the table, if several experiments on one test set have several seeds in common."""
    frame = _stability(study.experiments)
    if frame.empty:
        return []
    notes = [
        *study.banner,
        "F1 of the calls; a shared first place counts in parts; SD: sample standard deviation",
        *explain_marks([one for one in study.experiments if one.folder in set(frame["run"])]),
    ]
    return [Document("stability", "Stability of the ranking over seeds", frame, _print(frame), notes)]


def _stability(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return how often each experiment is best in F1 on its test set, over the seeds that all of them have."""
    rows = []
    for test_set in dict.fromkeys(experiment.test_set for experiment in experiments):
        members = [one for one in experiments if one.test_set == test_set and len(one.seeds) > 1]
        if len(members) < 2:
            continue
        common = sorted(set.intersection(*(set(experiment.seeds) for experiment in members)))
        if len(common) < 2:
            continue
        f1 = np.array([[one.scored.values["f1"][one.seeds.index(seed)] for seed in common] for one in members])
        is_best = f1 == f1.max(axis=0)
        best = is_best / is_best.sum(axis=0)  # ties are shared
        ranks = pd.DataFrame(-f1).rank(axis=0)
        rows += [
            {
                "test_set": test_set,
                "experiment": label(experiment),
                "marks": marks_of(experiment),
                "best_in": float(best[place].sum()),
                "seeds": len(common),
                "mean_rank": float(ranks.iloc[place].mean()),
                "f1_mean": float(f1[place].mean()),
                "f1_sd": float(f1[place].std(ddof=1)),
                "run": experiment.folder,
            }
            for place, experiment in enumerate(members)
        ]
    return pd.DataFrame(rows).sort_values(["test_set", "best_in"], ascending=[True, False]) if rows else pd.DataFrame()


def _print(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Experiment": frame["experiment"],
            "Marks": frame["marks"],
            "Best in": [f"{row.best_in:g} of {row.seeds} seeds" for row in frame.itertuples()],
            "Mean rank": [f"{row.mean_rank:.1f} (n={row.seeds})" for row in frame.itertuples()],
            "F1, mean": [f"{row.f1_mean:.3f} (n={row.seeds})" for row in frame.itertuples()],
            "F1, SD": [f"{row.f1_sd:.3f} (n={row.seeds})" for row in frame.itertuples()],
        }
    )

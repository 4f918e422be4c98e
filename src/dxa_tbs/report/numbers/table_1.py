"""Table I: images of each class and split, original and augmented."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dxa_tbs.report.documents import Document
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.paper import TABLE_I
from dxa_tbs.report.study import Study

KINDS = ("normal_original", "degraded_original", "normal_augmented", "degraded_augmented")
TITLE = "Table I. Number of original and augmented samples for each class: ours (paper)"


def table_1(study: Study) -> list[Document]:
    """Return Table I."""
    frame = _count(study.experiments)
    return [Document("table_i", TITLE, frame, _print(frame), study.banner)]


def _count(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return one row for each part (train, val, test) of every split among the experiments."""
    rows, seen = [], set()
    for experiment in experiments:
        run = experiment.first
        counted = run.facts["num_images"]
        key = (experiment.test_set, str(counted))
        if key in seen:
            continue
        seen.add(key)
        for split in ("train", "val", "test"):
            ours = {kind: counted[split][kind] for kind in KINDS}
            printed = TABLE_I[split] if run.config["split"]["name"] == "table1" else dict.fromkeys(KINDS)
            rows.append({"test set": experiment.test_set, "split": split} | ours | {"total": sum(ours.values())}
                        | {f"paper_{kind}": printed[kind] for kind in KINDS} | {"run": run.folder})  # fmt: skip
    return pd.DataFrame(rows)


def _print(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Table I with its sums, the paper's count in brackets."""
    lines = []
    for run, rows in frame.groupby("run", sort=False):
        sums = {"split": "sum"} | rows.drop(columns=["test set", "run"]).sum(numeric_only=True).to_dict()
        for row in [*rows.to_dict("records"), sums]:
            line = {"Split": str(row["split"]).capitalize()}
            for kind in KINDS:
                has_printed = rows[f"paper_{kind}"].notna().all()
                printed = f" ({int(row[f'paper_{kind}'])})" if has_printed else ""
                line[f"{kind.replace('_', ' ').capitalize()} samples"] = f"{int(row[kind])}{printed}"
            lines.append(line | {"Total": str(int(row["total"])), "Run": str(run) if row["split"] == "train" else ""})
    return pd.DataFrame(lines)

"""Environment: versions, devices and settings of the process that the runs were computed with."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from dxa_tbs.report.documents import ABSENT, Document
from dxa_tbs.report.study import Study
from dxa_tbs.runs.identity import flatten


def environment_table(study: Study) -> list[Document]:
    """Return each distinct value of environment.json with the number of runs that have it."""
    values: dict[str, Counter[str]] = {}
    runs = [run for one in study.experiments for run in one.runs]
    for run in runs:
        for key, value in flatten(run.environment).items():
            if not key.startswith(("weights", "started", "study_sha256")):
                values.setdefault(key.removeprefix("packages."), Counter())[
                    ABSENT if value is None else str(value)
                ] += 1
    rows = [{"what": key, "value": text, "runs": n} for key, counted in values.items() for text, n in counted.items()]
    frame = pd.DataFrame(rows, columns=["what", "value", "runs"])
    printed = frame.map(str).rename(columns={"what": "", "value": "Value", "runs": f"Runs of {len(runs)}"})
    return [Document("environment", "Environment", frame, printed, [])]

"""State the question of a study in advance: python -m dxa_tbs.plan outputs/our_clinic --question ... --first ..."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from dxa_tbs.config.answers import one_line_refusals
from dxa_tbs.errors import Refusal
from dxa_tbs.runs.folder import find_runs
from dxa_tbs.runs.study_plan import METRICS, StudyPlan, write_plan


def state_plan(folder: Path, plan: StudyPlan) -> Path:
    """Write study.yaml into a study's folder and return its path.

    Raises:
        Refusal: the folder already contains runs or a plan, or the plan has an invalid value.
    """
    if folder.is_dir() and (runs := find_runs(folder)):
        raise Refusal(
            f"{folder}: already contains runs ({len(runs)}), but a plan must precede them: give another study (name=)"
        )
    return write_plan(folder, plan)


def main() -> None:
    parser = argparse.ArgumentParser(prog="dxa-plan", description=__doc__)
    parser.add_argument("folder", type=Path, help="the study's folder, <output_root>/<name>")
    parser.add_argument("--question", required=True, help="the question of the study, in one sentence")
    parser.add_argument("--metric", choices=METRICS, default="auc", help="primary metric (default: auc)")
    parser.add_argument("--first", required=True, metavar="EXPERIMENT", help="<approach>/<model>, such as adhoc/model4")
    parser.add_argument("--second", required=True, metavar="EXPERIMENT", help="like --first, or slope for the baseline")
    parser.add_argument(
        "--margin", type=float, default=0.0, help="the difference to exceed; below 0: non-inferiority (default: 0)"
    )
    parser.add_argument("--seeds", type=int, required=True, help="number of training runs of each experiment")
    parser.add_argument(
        "--smallest-difference", type=float, required=True, help="the smallest difference of interest, such as 0.05"
    )
    given = parser.parse_args()
    plan = StudyPlan(
        question=given.question,
        primary_metric=given.metric,
        first=given.first,
        second=given.second,
        margin=given.margin,
        seeds=given.seeds,
        smallest_difference=given.smallest_difference,
        stated=datetime.date.today(),
    )
    with one_line_refusals():
        print(f"wrote {state_plan(given.folder, plan)}: each run will record its hash")


if __name__ == "__main__":
    main()

"""What a study asks, stated before its runs, and the primary result in its report. Runs are made up, files are real."""

from __future__ import annotations

import datetime
import hashlib
import math
import sys
from pathlib import Path

import pytest
from test_tables import store_run

from dxa_tbs import plan as entry
from dxa_tbs.errors import Refusal
from dxa_tbs.evaluation.comparisons import Comparison
from dxa_tbs.report.build import make_documents
from dxa_tbs.report.numbers.primary import _judge
from dxa_tbs.report.outputs import find_experiments
from dxa_tbs.report.study import Study
from dxa_tbs.runs.files import read_json, write_json
from dxa_tbs.runs.study_plan import FILE, StudyPlan, plan_sha256, read_plan, write_plan

PLAN = StudyPlan(
    question="Is Model 1 better than Model 2?",
    primary_metric="auc",
    first="adhoc/model1",
    second="adhoc/model2",
    margin=0.0,
    seeds=2,
    smallest_difference=0.05,
    stated=datetime.date(2026, 3, 1),
)


def study(root: Path, *, with_plan: bool = True, seeds: int = 2) -> Path:
    """Write two experiments that record the plan of their study; return the study's folder."""
    folder = root / "runs"
    if with_plan:
        write_plan(folder, PLAN)
    for seed in range(seeds):
        for model in ("model1", "model2"):
            run_dir = store_run(root, f"model={model}", f"seed={seed}")
            environment = read_json(run_dir / "environment.json")
            write_json(run_dir / "environment.json", environment | {"study_sha256": plan_sha256(folder)})
    return folder


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_plan(tmp_path, PLAN)
    assert read_plan(tmp_path) == PLAN
    text = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(text.replace(b"\n", b"\r\n"))
    assert plan_sha256(tmp_path) == hashlib.sha256(text).hexdigest()
    assert read_plan(tmp_path / "elsewhere") is None


def test_a_plan_never_changes(tmp_path: Path) -> None:
    write_plan(tmp_path, PLAN)
    with pytest.raises(Refusal, match="states a plan already, which must not change"):
        write_plan(tmp_path, PLAN)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("primary_metric: auc", "primary_metric: roc", "primary_metric=roc: must be one of auc, f1, accuracy"),
        ("seeds: 2", "seeds: 0", "seeds=0: must be 1 or more"),
        ("seeds: 2", "seeds: .inf", "seeds=inf: must be a whole number"),
        ("seeds: 2", "seeds: 2.5", "seeds=2.5: must be a whole number"),
        ("margin: 0.0", "margin: little", "margin=little: must be a number"),
        ("margin: 0.0", "margin: .nan", "margin=nan: must lie between -1 and 1"),
        ("margin: 0.0", "margn: 0.0", "margn: no such setting: did you mean margin?"),
        ("second: adhoc/model2", "second: adhoc/model1", "first=adhoc/model1: must differ from second"),
        ("stated: 2026-03-01", "stated: soon", "stated=soon: must be a day"),
        ("smallest_difference: 0.05", "smallest_difference: 0", "smallest_difference=0: must lie between 0 and 1"),
        ("question", "- [", "is no YAML"),
        ("first: adhoc/model1", "first: model1", "first=model1: must be <approach>/<model>"),
        ("first: adhoc/model1", "first: ' '", "first is empty"),
    ],
)
def test_a_plan_with_a_mistake_names_the_setting(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_plan(tmp_path, PLAN)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(Refusal) as refusal:
        read_plan(tmp_path)
    assert message in str(refusal.value)
    assert FILE in str(refusal.value)


def test_the_command_writes_a_plan_before_the_first_run_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--question", "Which?", "--first", "adhoc/model1", "--second", "slope", "--seeds", "3"]
    typed += ["--smallest-difference", "0.05"]
    monkeypatch.setattr(sys, "argv", ["dxa-plan", str(tmp_path / "new"), *typed])
    entry.main()
    assert read_plan(tmp_path / "new").second == "slope"
    study(tmp_path, with_plan=False)
    monkeypatch.setattr(sys, "argv", ["dxa-plan", str(tmp_path / "runs"), *typed])
    with pytest.raises(SystemExit) as exit_:
        entry.main()
    assert exit_.value.code == 1
    assert "already contains runs (4), but a plan must precede them" in capsys.readouterr().err


def test_the_primary_result_comes_first_and_is_tested_alone(tmp_path: Path) -> None:
    folder = study(tmp_path)
    made = make_documents(find_experiments(folder), folder)
    assert made.primary.lines[0].startswith("Primary result: AUC of model1 adhoc minus model2 adhoc: ")
    assert "Stated before each of the 4 runs of this report (study.yaml, stated 2026-03-01" in " ".join(
        made.primary.lines
    )
    assert made.primary.lines[-1] == "All other comparisons are exploratory."
    row = made.documents["primary"].numbers.iloc[0]
    pair = made.documents["comparison_auc"].numbers.iloc[0]
    assert (row["difference"], row["p"]) == (pair["difference"], pair["p"])
    assert pair["is_primary"]
    assert pair["p_holm"] == pair["p"]
    assert not made.documents["comparison_f1"].numbers["is_primary"].any()
    other = find_experiments(tmp_path)  # the folder above the study's finds the same plan
    assert make_documents(other, tmp_path).primary.document is not None


@pytest.mark.parametrize(
    ("margin", "low", "high", "p", "said"),
    [
        (0.0, 0.01, 0.05, 0.01, "Shown to be higher"),
        (0.0, -0.05, -0.01, 0.01, "Shown to be lower"),
        (0.0, -0.01, 0.05, 0.2, "Not shown to differ"),
        (0.05, 0.06, 0.09, 0.001, "Shown to be higher by more than 0.05"),
        (0.05, 0.01, 0.04, 0.002, "Shown not to be higher by 0.05"),
        (0.05, -0.02, 0.04, 0.6, "Shown not to be higher by 0.05"),
        (0.05, -0.04, -0.02, 0.01, "Shown to be lower"),
        (0.05, 0.01, 0.09, 0.01, "Not shown"),
        (-0.05, -0.03, 0.02, 0.6, "Shown not to be worse by 0.05"),
        (-0.05, -0.09, -0.06, 0.001, "Shown to be worse by more than 0.05"),
        (-0.05, -0.09, 0.01, 0.1, "Not shown"),
        (0.0, math.nan, math.nan, math.nan, "Cannot be judged"),
    ],
)
def test_what_an_interval_shows_of_a_margin(margin: float, low: float, high: float, p: float, said: str) -> None:
    assert _judge(margin, Comparison((low + high) / 2, low, high, p, "")) == said


def test_without_a_plan_the_report_says_so(tmp_path: Path) -> None:
    folder = study(tmp_path, with_plan=False)
    made = make_documents(find_experiments(folder), folder)
    assert made.primary.document is None
    assert made.primary.lines[0].startswith("No endpoint was stated before these runs")


def test_a_plan_that_was_written_or_changed_later_is_found_out(tmp_path: Path) -> None:
    folder = study(tmp_path)
    path = folder / FILE
    path.write_text(path.read_text(encoding="utf-8").replace("0.05", "0.01"), encoding="utf-8")
    made = make_documents(find_experiments(folder), folder)
    assert "Not stated before all runs: 4 of 4 were made without this plan, with another" in " ".join(
        made.primary.lines
    )


def test_what_a_plan_names_and_nobody_ran_is_said(tmp_path: Path) -> None:
    folder = study(tmp_path)
    path = folder / FILE
    path.write_text(path.read_text(encoding="utf-8").replace("adhoc/model2", "full/vgg16"), encoding="utf-8")
    made = make_documents(find_experiments(folder), folder)
    assert made.primary.lines[0] == (
        "The primary comparison cannot be made: no finished experiment full/vgg16 on the same images."
    )
    path.write_text("nonsense", encoding="utf-8")
    made = make_documents(find_experiments(folder), folder)
    assert "cannot be read" in made.primary.lines[0]


def test_fewer_seeds_than_stated_are_said(tmp_path: Path) -> None:
    folder = study(tmp_path, seeds=1)
    made = make_documents(find_experiments(folder), folder)
    assert "model1 adhoc: 1 of the 2 seeds that the plan states." in made.primary.lines
    assert "This one training, other patients" in made.primary.lines[1]


def test_an_evaluation_of_images_scored_before_is_not_stated_before(tmp_path: Path) -> None:
    folder = study(tmp_path)
    for path in folder.rglob("metrics.json"):
        facts = read_json(path) | {
            "evaluated_run": "elsewhere",
            "is_external": False,
            "weights_sha256": path.as_posix(),
        }
        write_json(path, facts)
    made = make_documents(find_experiments(folder), folder)
    assert "on test images scored before" in " ".join(made.primary.lines)


@pytest.mark.slow
def test_of_several_experiments_of_a_name_the_plan_says_which(tmp_path: Path) -> None:
    folder = study(tmp_path)
    for seed in (0, 1):
        store_run(tmp_path, "model=model2", "optimizer.lr=0.01", f"seed={seed}")
    path = folder / FILE
    assert "2 experiments are adhoc/model2, and the plan does not say which" in make(folder).primary.lines[0]
    path.write_text(path.read_text(encoding="utf-8").replace("adhoc/model2", "adhoc/model2 optimizer.lr=1e-2"))
    assert "minus model2 adhoc, learning rate 0.01: " in make(folder).primary.lines[0]
    (folder / "phantom/adhoc/model2/seed1/predictions.csv").write_text("")
    assert "a run of adhoc/model2 is left out (damaged: " in make(folder).primary.lines[0]


def make(folder: Path) -> Study:
    return make_documents(find_experiments(folder), folder)

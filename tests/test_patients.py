"""Levels of subgroup columns, what of them may be published, and what says whose machine or images these are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_tables import numbers, rebuild, store_metrics, store_run

from dxa_tbs.report.build import make_documents
from dxa_tbs.report.outputs import find_experiments
from dxa_tbs.report.page.checklist import fill_checklist
from dxa_tbs.report.patients import RESULT_COLUMNS, levels, publishable, read_patients
from dxa_tbs.runs.files import FAILED_JSON, METRICS_JSON, read_csv, read_json, write_csv, write_json


def test_a_small_level_cannot_be_found_by_subtraction() -> None:
    assert publishable({"a": 100, "b": 50, "c": 10}) == ["a", "b", "c"]
    assert publishable({"a": 100, "b": 50, "c": 3}) == ["a"]  # b stays hidden, or c were the rest
    assert publishable({"a": 100, "b": 8, "c": 7}) == ["a"]
    assert publishable({"a": 12, "b": 1}) == []
    assert publishable({"a": 12, "b": 0}) == ["a"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series(["GE", "", "Hologic", "GE"]), {"GE": 2, "Hologic": 1, "unknown": 1}),
        (pd.Series([0, 1, 1, 0, 0]), {"0": 3, "1": 2, "unknown": 0}),
        (
            pd.Series([49.9, 50, 61, 79, 80, 93, np.nan], name="age"),
            {"below 50": 1, "50 to below 60": 1, "60 to below 70": 1, "70 to below 80": 1, "from 80": 2, "unknown": 1},
        ),
        (pd.Series(np.arange(9.0)), {"below 2.7": 3, "2.7 to below 5.3": 3, "from 5.3": 3, "unknown": 0}),
    ],
)
def test_levels_are_codes_decades_or_tertiles_and_share_everybody(values: pd.Series, expected: dict[str, int]) -> None:
    found = {name: int(chosen.sum()) for name, chosen in levels(values)}
    assert found == expected
    assert sum(found.values()) == len(values)


def add_columns(run_dir: Path, **columns: object) -> None:
    split = read_csv(run_dir / "split.csv")
    write_csv(run_dir / "split.csv", split.assign(**columns))


def test_a_blank_leaves_a_column_of_numbers_what_it_is_and_truth_values_are_levels(tmp_path: Path) -> None:
    run_dir = store_run(tmp_path)
    rng = np.random.default_rng(0)
    ages = pd.Series(rng.integers(45, 90, 242).astype(float))
    ages[3] = np.nan
    scanners = np.where(np.arange(242) % 2 == 0, "GE|Lunar", "<Prodigy>")
    add_columns(run_dir, age=ages, treated=np.arange(242) % 3 == 0, scanner=scanners)
    who = read_patients(run_dir)
    assert pd.api.types.is_float_dtype(who["age"])
    text = rebuild(tmp_path)
    groups = numbers(tmp_path, "subgroups")
    assert set(groups["group"][groups["column"] == "treated"]) == {"True", "False"}
    assert "60 to below 70" in set(groups["group"])
    assert "GE\\|Lunar" in text
    card = numbers(tmp_path, "data_card").set_index("split")
    assert str(card.loc["test", "age"]).count(" to ") == 1  # quartiles, not who is oldest


def test_levels_count_patients_not_images(tmp_path: Path) -> None:
    run_dir = store_run(tmp_path)
    split = read_csv(run_dir / "split.csv")
    is_rare = np.arange(len(split)) < 12
    split["patient_id"] = np.where(is_rare, "one", split["patient_id"])
    write_csv(run_dir / "split.csv", split.assign(scanner=np.where(is_rare, "Rare", "Common")))
    text = rebuild(tmp_path)
    assert "Rare" not in text


def test_pages_do_not_say_whose_machine_it_was(tmp_path: Path) -> None:
    run_dir = store_run(tmp_path, "name=other")
    facts = read_json(run_dir / "metrics.json") | {"weights_sha256": "w", "is_external": True}
    facts["evaluated_run"] = "/home/anna.miller/outputs/runs/table/adhoc/model4/seed0"
    write_json(run_dir / "metrics.json", facts)
    failed = store_run(tmp_path, "model=model2", finished=False)
    write_json(failed / FAILED_JSON, {"error": "/home/anna.miller/secret/cohort.csv: no such file"})
    text = rebuild(tmp_path)
    found = find_experiments(tmp_path)
    items = fill_checklist(found.experiments[0], make_documents(found, tmp_path).documents)
    everything = text + str(items)
    assert "anna" not in everything
    assert "runs/table/adhoc/model4/seed0" in everything
    assert "cohort.csv: no such file" in everything


def test_the_same_names_in_two_clinics_are_not_the_same_images(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model1")
    other = store_run(tmp_path, "model=model2", "dataset.name=clinic_b")
    facts = read_json(other / "metrics.json") | {"cohort_sha256": "b"}
    write_json(other / "metrics.json", facts)
    rebuild(tmp_path)
    assert not list((tmp_path / "tables").glob("comparison*"))
    titles = numbers(tmp_path, "overview")["experiment"].tolist()
    assert [title.split(", ")[1][:7] for title in titles] == ["phantom", "clinic_"]


def test_controls_stand_with_their_split_alone_each_with_its_own_images(tmp_path: Path) -> None:
    store_run(tmp_path, "model=model1")
    for seed in (0, 1):
        store_run(tmp_path, "model=model3", f"labels.permuted_seed={seed}")
    store_run(tmp_path, "model=model3", "labels.permuted_seed=0", "split=stratified", data="s")
    found = find_experiments(tmp_path)
    assert len(found.controls) == 3
    documents = make_documents(found, tmp_path).documents
    rows = documents["sanity"].numbers
    assert rows["experiment"].nunique() == 2
    assert rows["run"].nunique() == 2
    assert (rows["n"] == 181).all()


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("score", "fold") else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(RESULT_COLUMNS)
    ],
)
def test_an_old_subgroup_with_the_name_of_a_column_of_the_report_stays_readable(name: str, tmp_path: Path) -> None:
    run_dir = store_run(tmp_path, "model=model1")
    table = pd.read_csv(run_dir / "split.csv", keep_default_na=False)
    write_csv(run_dir / "split.csv", table.assign(**{name: table.index % 2}))
    store_metrics(run_dir, read_json(run_dir / METRICS_JSON))
    rebuild(tmp_path)
    groups = numbers(tmp_path, "subgroups")
    assert set(groups["column"]) == {f"{name} (subgroup)"}
    assert set(groups["group"]) == {0, 1}
    assert numbers(tmp_path, "data_card").set_index("split").loc["test", "images"] == 181

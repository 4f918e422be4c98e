"""Real runs of version 0.1.0 after three settings were added: still skipped, evaluated, repeated and reported.

The settings are added to a copy of the package, as a developer would add them, and one process there runs all commands.
runs_of_0_1_0/README.md says how the runs were made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import composed
from hydra import compose
from sklearn.metrics import roc_auc_score

import dxa_tbs
from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.schema import conf_dir
from dxa_tbs.report.outputs import find_experiments
from dxa_tbs.runs.files import CONFIG_YAML, FAILED_JSON, METRICS_JSON, PREDICTIONS_CSV, read_csv, read_json, read_yaml
from dxa_tbs.runs.folder import find_runs
from dxa_tbs.runs.identity import read_config
from dxa_tbs.runs.versions import Added, completed_settings, schema_version
from dxa_tbs.verification.seal import find_damage

STORED = Path(__file__).parent / "runs_of_0_1_0"
ADHOC = "runs/phantom/adhoc/model3/seed0-96f532f6"
FOLDS = ("runs/phantom/adhoc/model3/seed0-93012c55", "runs/phantom/adhoc/model3/seed0-e35910d3")
FULL = "runs/phantom/full/squeezenet/seed0-30bc8dc1"
HEAD = "runs/phantom/head/squeezenet/seed0-30bc8dc1"
EVALUATION = "elsewhere/phantom/adhoc/model3/seed0-e1585691"
INTERRUPTED = "interrupted/phantom/adhoc/model3/seed0-71b950a4"
FAILED = "failed/phantom/adhoc/model3/seed0-e0ac6f37"

COHORT = ("dataset.num_normal=40", "dataset.num_degraded=20")
SPLIT = ("split=stratified", "split.val_fraction=0.2", "split.test_fraction=0.2")
COMMON = ("trainer.device=cpu", "evaluation.shown_errors=0")
TINY = ("model=model3", "model.filters=[4,4,4,4,4]", "model.fc_widths=[8]")
OF_ADHOC = (*TINY, "optimizer.lr=0.01", *COHORT, *SPLIT, *COMMON)
OF_FOLDS = (*TINY, "optimizer.lr=0.01", *COHORT, "split=kfold", "split.folds=2", "trainer.epochs=2", *COMMON)
OF_SQUEEZENET = ("model=squeezenet", "model.weights=none", *COHORT, *SPLIT, "trainer.epochs=1", *COMMON)
ELSEWHERE = ("dataset=phantom", "dataset.seed=1", "dataset.num_normal=20", "dataset.num_degraded=10")
MADE_BY = {  # the commands that wrote the runs
    ADHOC: (*OF_ADHOC, "trainer.epochs=4"),
    FOLDS[0]: (*OF_FOLDS, "split.fold=0"),
    FOLDS[1]: (*OF_FOLDS, "split.fold=1"),
    FULL: ("approach=full", *OF_SQUEEZENET),
    HEAD: ("approach=head", *OF_SQUEEZENET),
    EVALUATION: (f"evaluate=outputs/{ADHOC}", *ELSEWHERE, "name=elsewhere", *COMMON),
    FAILED: (*TINY, "optimizer.lr=1e30", *COHORT, *SPLIT, *COMMON, "trainer.epochs=2", "name=failed"),
    INTERRUPTED: (*OF_ADHOC, "trainer.epochs=6", "name=interrupted"),
}
FINISHED = (ADHOC, *FOLDS, FULL, HEAD, EVALUATION)
COMMANDS = """
import json, sys
from pathlib import Path
from dxa_tbs import tables, train
from dxa_tbs.report.build import make_documents
from dxa_tbs.report.outputs import find_experiments

def report():
    found = find_experiments(Path("outputs"))
    for name, document in make_documents(found, Path("outputs")).documents.items():
        document.numbers.to_csv(f"{name}.csv", index=False)
    Path("missing.json").write_text(json.dumps(found.missing))

for command, arguments in json.loads(sys.argv[1]):
    sys.argv = [command, *arguments]
    try:
        {"train": train.main, "tables": tables.main, "report": report}[command]()
    except SystemExit as end:
        print(f"exit {end.code}")
"""
Command = tuple[str, Sequence[str]]


def add_three_settings(root: Path) -> None:
    """Copy the package to `root`; add a setting of all trainings, one of ad hoc networks and one of all datasets."""
    shutil.copytree(Path(dxa_tbs.__file__).parent, root / "src/dxa_tbs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(conf_dir(), root / "conf")
    insert_after(root, r"\nclass TrainerConfig:\n", "    warmup_epochs: int = MISSING\n")
    insert_after(root, r"\nclass AdhocConfig\(ModelConfig\):\n", "    activation: str = MISSING\n")
    insert_after(root, r"\ndef build_adhoc\(", "activation: str, ")
    insert_after(root, r"\nclass DatasetConfig:\n", "    view: str | None = MISSING\n")
    insert_after(root, r"\ntrainer:\n", "  warmup_epochs: 0\n")
    for pattern, line in (("model/model[1-4].yaml", "activation: relu\n"), ("dataset/*.yaml", "view: null\n")):
        for option in (root / "conf").glob(pattern):
            option.write_text(option.read_text(encoding="utf-8") + line, encoding="utf-8", newline="\n")
    version = schema_version()
    lines = (
        Added("trainer.warmup_epochs", 0, since=version + 1),
        Added("model.activation", "relu", since=version + 2, only_with="filters"),
        Added("dataset.view", None, since=version + 3),
    )
    insert_after(root, r"\nADDED_SINCE = \(\n", "".join(f"    {line},\n" for line in lines))


def insert_after(root: Path, pattern: str, text: str) -> None:
    """Insert a text after the one place in the files below `root` that the pattern matches."""
    sources = {path: path.read_text(encoding="utf-8") for path in (*root.rglob("*.py"), root / "conf/config.yaml")}
    ((path, source),) = [(path, source) for path, source in sources.items() if re.search(pattern, source)]
    changed, count = re.subn(pattern, lambda match: match[0] + text, source)
    assert count == 1
    path.write_text(changed, encoding="utf-8", newline="\n")


def run_later_version(root: Path, commands: Sequence[Command]) -> str:
    """Run commands one after the other in one process of the later version; return what they print."""
    add_three_settings(root)
    shutil.copytree(STORED / "outputs", root / "outputs")
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def train(*typed: str, cache_dir: Path) -> Command:
    return "train", [*typed, f"cache_dir={cache_dir}"]


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> tuple[Path, str]:
    """Return the folder where a later version ran the old commands and new ones, and what it printed."""
    root = tmp_path_factory.mktemp("later")
    commands = [train(*MADE_BY[folder], cache_dir=cache_dir) for folder in (*FINISHED, FAILED)]
    commands.append(train(*MADE_BY[ADHOC], "seed=1", cache_dir=cache_dir))
    commands.append(train(f"evaluate=outputs/{ADHOC}", "name=again", *COMMON, cache_dir=cache_dir))
    return root, run_later_version(root, [*commands, ("report", [])])


def new_run(root: Path, parent: str) -> Path:
    """Return the one run folder that version 0.1.0 did not write."""
    (folder,) = [
        path for path in (root / "outputs" / parent).iterdir() if not (STORED / "outputs" / parent / path.name).exists()
    ]
    return folder


def test_a_finished_run_is_skipped_by_the_command_that_made_it_and_stays_as_it_was(later: tuple[Path, str]) -> None:
    root, printed = later
    assert re.findall(r"skipped, already finished: outputs/(\S+)", printed) == list(FINISHED)
    for folder in FINISHED:
        for stored in (STORED / "outputs" / folder).iterdir():
            assert (root / "outputs" / folder / stored.name).read_bytes() == stored.read_bytes()


def test_a_repeat_of_a_run_of_0_1_0_has_its_settings_and_those_added_since(later: tuple[Path, str]) -> None:
    root, _ = later
    stored = read_yaml(new_run(root, "runs/phantom/adhoc/model3") / CONFIG_YAML)
    assert stored.pop("schema_version") == schema_version() + 3
    added = [
        section.pop(key)
        for section, key in (
            (stored["trainer"], "warmup_epochs"),
            (stored["model"], "activation"),
            (stored["dataset"], "view"),
        )
    ]
    assert added == [0, "relu", None]
    old = read_config(STORED / "outputs" / ADHOC)
    assert stored == old | {"seed": 1, "cache_dir": stored["cache_dir"]}


def test_an_evaluation_of_a_run_of_0_1_0_gives_the_scores_that_it_wrote(later: tuple[Path, str]) -> None:
    root, _ = later
    again = new_run(root, "again/phantom/adhoc/model3")
    assert "evaluated_run" in read_json(again / METRICS_JSON)
    new, old = (
        read_csv(folder / PREDICTIONS_CSV).query("split == 'test'").set_index("image_id")
        for folder in (again, STORED / "outputs" / ADHOC)
    )
    assert new["label"].equals(old["label"])
    np.testing.assert_allclose(new["score"], old["score"], atol=0.01)  # bf16, or fp32 where the processor lacks it


def auc_of(*folders: Path) -> float:
    test = pd.concat([read_csv(folder / PREDICTIONS_CSV) for folder in folders]).query("split == 'test'")
    return float(roc_auc_score(test["label"], test["score"]))


def test_the_report_counts_runs_of_0_1_0_with_the_right_numbers(later: tuple[Path, str]) -> None:
    root, _ = later
    repeat = new_run(root, "runs/phantom/adhoc/model3")
    runs = pd.read_csv(root / "runs.csv").set_index("run")
    assert set(runs.index) == {*FINISHED, repeat.relative_to(root / "outputs").as_posix()}
    for folder in FINISHED:
        assert runs.loc[folder, "auc"] == pytest.approx(auc_of(STORED / "outputs" / folder))
    overview = pd.read_csv(root / "overview.csv").set_index("run")
    assert set(overview.index) == {ADHOC, FOLDS[0], FULL, HEAD, EVALUATION}
    assert overview["seeds"].to_dict() == {ADHOC: 2, FOLDS[0]: 1, FULL: 1, HEAD: 1, EVALUATION: 1}
    pooled = np.mean([auc_of(STORED / "outputs" / ADHOC), auc_of(repeat)])
    assert overview.loc[ADHOC, "auc_value"] == pytest.approx(pooled)
    assert overview.loc[FOLDS[0], "n"] == 60
    of_folds = np.mean([auc_of(STORED / "outputs" / folder) for folder in FOLDS])
    assert overview.loc[FOLDS[0], "auc_value"] == pytest.approx(of_folds)


def test_the_report_names_every_other_run_and_why(later: tuple[Path, str]) -> None:
    root, _ = later
    missing = json.loads((root / "missing.json").read_text())
    again = new_run(root, "again/phantom/adhoc/model3").relative_to(root / "outputs").as_posix()
    assert [line for line in missing if not line.startswith("no finished run")] == [
        f"failed: {FAILED}: the loss is not a number after one epoch: lower optimizer.lr=1e+30",
        f"not finished: {INTERRUPTED}",
        f"scores the test images of {ADHOC} again: {again}",
    ]


def test_a_failed_run_of_0_1_0_is_tried_again_in_its_folder(later: tuple[Path, str]) -> None:
    root, printed = later
    assert printed.count("exit 1") == 1
    (folder,) = (root / "outputs/failed/phantom/adhoc/model3").iterdir()
    assert folder.relative_to(root / "outputs").as_posix() == FAILED
    assert read_yaml(folder / CONFIG_YAML)["schema_version"] == schema_version() + 3
    assert (folder / "train.log").read_bytes() != (STORED / "outputs" / FAILED / "train.log").read_bytes()
    assert read_json(folder / FAILED_JSON) == read_json(STORED / "outputs" / FAILED / FAILED_JSON)


def test_this_version_leaves_out_the_runs_of_the_later_one_and_keeps_the_old_ones(later: tuple[Path, str]) -> None:
    root, _ = later
    found = find_experiments(root / "outputs")
    assert {run.folder for one in found.experiments for run in one.runs} == set(FINISHED)
    for parent in ("runs/phantom/adhoc/model3", "again/phantom/adhoc/model3"):
        name = new_run(root, parent).relative_to(root / "outputs").as_posix()
        (line,) = [line for line in found.missing if name in line]
        assert line.startswith("cannot be read")


@pytest.mark.slow
def test_an_interrupted_run_of_0_1_0_is_done_again_in_its_folder_and_reported(tmp_path: Path, cache_dir: Path) -> None:
    printed = run_later_version(tmp_path, [train(*MADE_BY[INTERRUPTED], cache_dir=cache_dir), ("tables", ["outputs"])])
    assert f"finished: outputs/{INTERRUPTED}" in printed
    (folder,) = (tmp_path / "outputs/interrupted/phantom/adhoc/model3").iterdir()
    assert read_json(folder / METRICS_JSON)["epochs"] == 6
    overview = pd.read_csv(tmp_path / "outputs/tables/overview.csv").set_index("run")
    assert set(overview.index) == {ADHOC, FOLDS[0], FULL, HEAD, EVALUATION, INTERRUPTED}
    assert overview.loc[INTERRUPTED, "auc_value"] == pytest.approx(auc_of(folder))
    assert (tmp_path / "outputs/report.html").is_file()


def test_the_stored_runs_are_as_version_0_1_0_wrote_them() -> None:
    states = {
        run_dir.relative_to(STORED / "outputs").as_posix(): state
        for run_dir, state in find_runs(STORED / "outputs").items()
    }
    assert states == {**dict.fromkeys(FINISHED, "finished"), INTERRUPTED: "unfinished", FAILED: "failed"}
    for folder in states:
        assert "schema_version" not in read_yaml(STORED / "outputs" / folder / CONFIG_YAML)
    assert [find_damage(STORED / "outputs" / folder) for folder in FINISHED] == [None] * len(FINISHED)
    assert find_damage(STORED / "outputs" / ADHOC, with_weights=True) is None


OLD_SETTINGS: dict[str, list[str]] = yaml.safe_load((STORED / "settings.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("part", OLD_SETTINGS)
def test_each_setting_that_version_0_1_0_lacks_is_in_the_table_of_added_settings(part: str) -> None:
    """Without a line there, finished runs would be orphaned."""
    cfg = compose("config", overrides=[part] if "=" in part else [])
    old = dict.fromkeys(OLD_SETTINGS[part])
    if part == "all":
        assert completed_settings(old).keys() == set(cfg)
    else:
        section = part.split("=")[0]
        assert completed_settings({section: old})[section].keys() == set(cfg[section])


FLAT = {
    "flip_probability": 0.5,
    "max_rotation_deg": 10.0,
    "min_brightness_change": 0.1,
    "max_brightness_change": 0.4,
    "interpolation": "bilinear",
}
COPIES = {"copies_per_normal": 0.2298, "copies_per_degraded": 3.804}


@pytest.mark.parametrize("version", [None, 1, 2])
def test_the_augmentation_of_older_runs_becomes_a_list_of_operations(version: int | None) -> None:
    def completed(**augmentation: object) -> dict[str, object]:
        stored = {"augmentation": augmentation} | ({} if version is None else {"schema_version": version})
        return dict(completed_settings(stored)["augmentation"])

    paper = to_plain(composed("augmentation=paper"))["augmentation"]
    assert completed(name="paper", **COPIES, **FLAT) == paper
    turned = completed(name="paper", **COPIES, **FLAT | {"max_rotation_deg": 0.0})
    assert turned["operations"][1] == {"name": "rotate", "max_deg": 0.0, "interpolation": "bilinear"}  # type: ignore[index]
    balanced = FLAT | {"interpolation": "bicubic"}
    shares = dict.fromkeys(COPIES, 0.6992)
    assert (
        completed(name="balanced", **shares, **balanced) == to_plain(composed("augmentation=balanced"))["augmentation"]
    )
    nothing = dict.fromkeys(FLAT, 0.0) | {"interpolation": "bicubic"} | dict.fromkeys(COPIES, 0.0)
    assert completed(name="none", **nothing) == to_plain(composed("augmentation=none"))["augmentation"]


def test_a_damaged_augmentation_of_an_older_run_stays_damaged() -> None:
    lacking = {key: value for key, value in FLAT.items() if key != "interpolation"}
    assert (
        "operations" not in completed_settings({"augmentation": {"name": "paper", **COPIES, **lacking}})["augmentation"]
    )
    newer = {"augmentation": {"name": "paper", **COPIES, **FLAT}, "schema_version": 3}
    assert "operations" not in completed_settings(newer)["augmentation"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_rotation_deg", "wide"), ("interpolation", 3), ("flip_probability", None), ("max_brightness_change", [0.4])],
)
def test_an_edited_augmentation_of_a_run_of_0_1_0_is_named(tmp_path: Path, key: str, value: object) -> None:
    run_dir = tmp_path / "seed0"
    shutil.copytree(STORED / "outputs" / ADHOC, run_dir)
    config = read_yaml(run_dir / CONFIG_YAML)
    config["augmentation"][key] = value
    (run_dir / CONFIG_YAML).write_text(yaml.safe_dump(config), encoding="utf-8")
    assert str(find_damage(run_dir)).startswith("config.yaml has no usable ")

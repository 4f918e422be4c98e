"""The run folder: who may write it, when it counts as finished, what is never overwritten."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import composed, defaults_of

from dxa_tbs.cache import replace_folder
from dxa_tbs.config.checks.data import RESERVED
from dxa_tbs.config.compose import to_plain
from dxa_tbs.errors import Refusal
from dxa_tbs.runs import versions
from dxa_tbs.runs.files import (
    CONFIG_YAML,
    ERRORS_CSV,
    FAILED_JSON,
    HISTORY_CSV,
    METRICS_JSON,
    SPLIT_CSV,
    read_csv,
    read_json,
    read_yaml,
    write_csv,
    write_json,
    write_yaml,
)
from dxa_tbs.runs.folder import claim_run, find_runs, is_finished, mark_failed, state_of
from dxa_tbs.runs.identity import identity, read_config, run_folder
from dxa_tbs.runs.records import COLUMNS, read_environment, read_history, read_measures, read_split, read_timing
from dxa_tbs.runs.versions import Added, NewerRun, completed_settings, schema_version

CONFIG: dict[str, object] = {"name": "runs", "optimizer": {"lr": 0.1}}
ADDED_SECTIONS = {added.key: added.value for added in versions.ADDED_SINCE if "." not in added.key}


def folder(*overrides: str, evaluated_sha256: str | None = None) -> str:
    config = to_plain(composed(*overrides))
    return run_folder(config, defaults=defaults_of(overrides), evaluated_sha256=evaluated_sha256).as_posix()


def made_from(data: str = "d") -> dict[str, str | None]:
    return {"data_sha256": data, "weights_sha256": None}


def finish(run_dir: Path, config: dict[str, object], data: str = "d") -> None:
    with claim_run(run_dir, config, made_from(data)) as is_to_do:
        assert is_to_do
        write_json(run_dir / METRICS_JSON, made_from(data))


def finish_unversioned(run_dir: Path, config: dict[str, object]) -> None:
    """Write a finished run as version 0.1.0 did: config.yaml states no version."""
    finish(run_dir, config)
    write_yaml(run_dir / CONFIG_YAML, config)


def test_the_folder_is_named_after_the_choices_and_a_digest_of_the_rest() -> None:
    assert folder() == "outputs/runs/phantom/adhoc/model4/seed0"
    assert folder("model=model1", "seed=3", "name=study", "output_root=o") == "o/study/phantom/adhoc/model1/seed3"
    digest = folder("optimizer.lr=0.1", "trainer.epochs=2")
    assert digest.startswith("outputs/runs/phantom/adhoc/model4/seed0-")
    assert digest == folder("trainer.epochs=2", "optimizer.lr=0.1") == folder("trainer.epochs=2", "optimizer.lr=1e-1")
    assert folder("optimizer.lr=1e-4", "split=table1") == folder("optimizer.lr=0.0001") == folder()  # the defaults
    assert folder("trainer.device=cpu", "evaluation.shown_errors=0") == folder()
    unknown = run_folder(to_plain(composed()))  # a caller that does not know the defaults
    assert unknown.name.startswith("seed0-")
    assert digest != folder("optimizer.lr=0.1")
    assert folder("augmentation=none") != folder("augmentation=balanced")
    assert folder("cache_dir=elsewhere") == folder()
    assert folder(evaluated_sha256="a") != folder(evaluated_sha256="b")


def test_a_run_is_found_under_the_name_that_another_version_gave_it(tmp_path: Path) -> None:
    """Version 0.1.0 named folders after what was typed: optimizer.lr=1e-4 and optimizer.lr=0.0001 were two."""
    typed = ("trainer.epochs=2", f"output_root={tmp_path}")
    config = to_plain(composed(*typed))
    new = run_folder(config, defaults=defaults_of(typed))
    older = {key: value for key, value in config["trainer"].items() if key != "watched"}
    finish_unversioned(new.with_name("seed0-0ld0d1ge"), config | {"trainer": older})
    assert run_folder(config, defaults=defaults_of(typed)).name == "seed0-0ld0d1ge"
    assert is_finished(new.with_name("seed0-0ld0d1ge"), config, made_from())
    assert run_folder(config).name == "seed0-0ld0d1ge"
    other = to_plain(composed(*typed, "seed=1"))
    assert run_folder(other, defaults=defaults_of(typed)).name == new.name.replace("seed0", "seed1")


def test_an_evaluation_is_found_by_the_weights_it_evaluates(tmp_path: Path) -> None:
    config = to_plain(composed(f"output_root={tmp_path}", "evaluate=somewhere"))
    old = run_folder(config, evaluated_sha256="w").with_name("seed0-0ld0d1ge")
    with claim_run(old, config, {"data_sha256": "d", "weights_sha256": "w"}):
        write_json(old / METRICS_JSON, {"data_sha256": "d", "weights_sha256": "w"})
    assert run_folder(config, evaluated_sha256="w") == old
    assert run_folder(config, evaluated_sha256="v") != old
    assert run_folder(config | {"evaluate": None}) != old


def test_a_finished_run_is_not_to_be_done_again(tmp_path: Path) -> None:
    finish(tmp_path / "run", CONFIG)
    with claim_run(tmp_path / "run", CONFIG | {"output_root": "x"}, made_from()) as is_to_do:
        assert not is_to_do


def test_a_finished_run_that_lacks_a_newer_setting_has_the_value_in_force_then(tmp_path: Path) -> None:
    dataset = {"name": "folder", "subgroups": [], "normal_folder": "N"}
    older: dict[str, object] = {"name": "runs", **ADDED_SECTIONS, "dataset": dataset}
    finish_unversioned(tmp_path / "run", older)
    newer = {"near_duplicates": "refuse", "patient_from": None}

    def now(**changes: object) -> dict[str, object]:
        return {"name": "runs", **ADDED_SECTIONS, "dataset": dataset | newer | changes}

    assert is_finished(tmp_path / "run", now(), made_from())
    assert is_finished(tmp_path / "run", now(near_duplicates="warn"), made_from())  # changes no result
    with pytest.raises(Refusal) as refusal:
        is_finished(tmp_path / "run", now(patient_from="^(.)"), made_from())
    assert refusal.value.details == ("dataset.patient_from: None there, ^(.) here",)
    assert read_config(tmp_path / "run") == now()


def test_a_finished_run_of_another_configuration_or_other_data_is_never_overwritten(tmp_path: Path) -> None:
    finish(tmp_path / "run", CONFIG)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for config, data, difference in (
        (CONFIG | {"optimizer": {"lr": 0.2}}, "d", "optimizer.lr: 0.1 there, 0.2 here"),
        (CONFIG, "e", "the images or their labels have changed since"),
    ):
        with (
            pytest.raises(Refusal, match="another configuration") as refusal,
            claim_run(tmp_path / "run", config, made_from(data)),
        ):
            pass
        assert refusal.value.details == (difference,)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_what_an_interrupted_run_left_is_removed_and_foreign_files_are_not(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), claim_run(tmp_path / "run", CONFIG, made_from()):
        (tmp_path / "run/history.csv").write_text("half a line")
        raise RuntimeError
    with claim_run(tmp_path / "run", CONFIG, made_from()) as is_to_do:
        assert is_to_do
        assert not (tmp_path / "run/history.csv").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.txt").write_text("precious")
    with (
        pytest.raises(Refusal, match="files that are no run"),
        claim_run(tmp_path / "thesis", CONFIG, made_from()),
    ):
        pass
    assert (tmp_path / "thesis/chapter1.txt").read_text() == "precious"


def test_two_processes_never_write_one_folder_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dxa_tbs.runs.folder import claim_run\n"
        f"with claim_run(Path({str(tmp_path / 'run')!r}), {CONFIG!r}, {made_from()!r}):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(Refusal, match="being written by another process"),
            claim_run(tmp_path / "run", CONFIG, made_from()),
        ):
            pass
        other.kill()
    with claim_run(tmp_path / "run", CONFIG, made_from()) as is_to_do:
        assert is_to_do


def test_finished_and_unfinished_runs_are_told_apart(tmp_path: Path) -> None:
    finish(tmp_path / "a/seed0", CONFIG)
    with claim_run(tmp_path / "b/seed0", CONFIG, made_from()):
        pass
    assert find_runs(tmp_path) == {tmp_path / "a/seed0": "finished", tmp_path / "b/seed0": "unfinished"}


def test_numbers_survive_and_nan_becomes_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": {"nan": math.nan, "third": 1 / 3}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": {"nan": None, "third": 1 / 3}}
    table = pd.DataFrame({"image_id": ["007"], "patient_id": ["01"], "tbs": [np.nan], "origin": [""], "score": [1 / 3]})
    write_csv(tmp_path / "a.csv", table)
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv"), table, check_dtype=False)


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "entry") as scratch:
        (scratch / "half").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with replace_folder(tmp_path / "entry") as scratch:
        (scratch / "whole").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["entry", "whole"]


def test_a_failure_is_recorded_told_apart_and_cleared_by_the_next_try(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert state_of(run_dir) == "to do"
    with pytest.raises(ValueError), claim_run(run_dir, CONFIG, made_from()):
        raise ValueError("first line\nsecond line")
    assert state_of(run_dir) == "failed"
    assert read_json(run_dir / FAILED_JSON) == {"error": "ValueError"}
    with pytest.raises(KeyboardInterrupt), claim_run(run_dir, CONFIG, made_from()):
        assert state_of(run_dir) == "running"
        raise KeyboardInterrupt
    assert state_of(run_dir) == "unfinished"
    mark_failed(tmp_path / "other", CONFIG, Refusal("no weights"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.txt").write_text("precious")
    mark_failed(tmp_path / "thesis", CONFIG, Refusal("holds files that are no run"))
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter1.txt"]
    assert find_runs(tmp_path) == {tmp_path / "other": "failed", run_dir: "unfinished"}
    with claim_run(run_dir, CONFIG, made_from()):
        write_json(run_dir / METRICS_JSON, made_from())
    assert state_of(run_dir) == "finished"


def test_a_new_run_states_the_version_of_its_settings_which_is_no_setting(tmp_path: Path) -> None:
    config = to_plain(composed())
    finish(tmp_path / "run", config)
    stored = read_yaml(tmp_path / "run" / CONFIG_YAML)
    assert next(iter(stored)) == "schema_version"
    assert stored == {"schema_version": schema_version(), **config}
    assert read_config(tmp_path / "run") == config
    assert not [key for key in identity(read_config(tmp_path / "run")) if "schema" in key]
    mark_failed(tmp_path / "other", config, Refusal("no weights"))
    assert read_yaml(tmp_path / "other" / CONFIG_YAML) == stored


def test_a_value_that_an_unversioned_run_has_stays() -> None:
    """Development versions after 0.1.0 had trainer.watched before config.yaml stated a version."""
    for stored, now in (({"watched": "originals"}, {"watched": "originals"}), ({}, {"watched": "all"})):
        assert completed_settings({"trainer": stored}) == {"trainer": {**now, "ema_decay": None}, **ADDED_SECTIONS}


def test_a_setting_that_a_run_should_have_is_not_filled_in(tmp_path: Path) -> None:
    config = to_plain(composed())
    trainer = {key: value for key, value in config["trainer"].items() if key != "watched"}
    finish(tmp_path / "run", config | {"trainer": trainer})
    with pytest.raises(Refusal) as refusal:
        is_finished(tmp_path / "run", config, made_from())
    assert refusal.value.details == ("trainer.watched: None there, all here",)


def test_settings_of_one_kind_and_whole_sections_are_filled_in_where_they_belong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = (
        Added("optimizer.nesterov", False, since=3, only_with="momentum"),
        Added("optimizer.amsgrad", False, since=3, only_without="momentum"),
        Added("task", {"name": "binary"}, since=3),
        Added("task.classes", 2, since=4),
    )
    monkeypatch.setattr(versions, "ADDED_SINCE", table)
    sgd, adamw = {"name": "sgd", "momentum": 0.9}, {"name": "mine"}
    task = {"name": "binary", "classes": 2}
    assert completed_settings({"optimizer": sgd}) == {"optimizer": sgd | {"nesterov": False}, "task": task}
    assert completed_settings({"optimizer": adamw}) == {"optimizer": adamw | {"amsgrad": False}, "task": task}
    of_version_3 = {"schema_version": 3, "optimizer": sgd, "task": {"name": "other"}}
    assert completed_settings(of_version_3) == {"optimizer": sgd, "task": {"name": "other", "classes": 2}}
    assert table[2].value == {"name": "binary"}


def test_a_folder_of_a_newer_version_is_never_touched(tmp_path: Path) -> None:
    stated = schema_version() + 1
    run_dir = tmp_path / "run"
    for name in ("history.csv", "last.pt"):
        run_dir.mkdir(exist_ok=True)
        (run_dir / name).write_text("hours of training")
    write_yaml(run_dir / CONFIG_YAML, {"schema_version": stated, **CONFIG})
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    message = (
        f"{run_dir / CONFIG_YAML}: schema_version={stated}: written by a newer version of dxa_tbs, this one reads "
        f"schema_version up to {stated - 1}: update dxa_tbs"
    )
    with pytest.raises(NewerRun) as refusal, claim_run(run_dir, CONFIG, made_from()):
        pass
    assert str(refusal.value) == message
    mark_failed(run_dir, CONFIG, refusal.value)
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before
    assert state_of(run_dir) == "unfinished"
    write_json(run_dir / METRICS_JSON, made_from())
    with pytest.raises(NewerRun), claim_run(run_dir, CONFIG, made_from()):
        pass


@pytest.mark.parametrize("version", ["two", 0, -1, 1.0, True, None, [2]])
def test_a_version_that_is_none_is_damage(version: object, tmp_path: Path) -> None:
    write_yaml(tmp_path / CONFIG_YAML, {"schema_version": version, **CONFIG})
    with pytest.raises(ValueError, match="schema_version is not a positive whole number"):
        read_config(tmp_path)


def test_the_tables_of_a_run_have_the_stated_columns(finished: Path) -> None:
    for name, columns in COLUMNS.items():
        stored = tuple(read_csv(finished / name).columns)
        assert stored[: len(columns)] == columns
        assert stored[len(columns) :] == (("age", "bmi", "scanner") if name == SPLIT_CSV else ())
    assert ERRORS_CSV in COLUMNS


def test_no_subgroup_may_have_the_name_of_a_column() -> None:
    of_measures_and_errors = {name for columns in COLUMNS.values() for name in columns}
    of_tables_without_images = {*COLUMNS[HISTORY_CSV], *COLUMNS["layers.csv"]} - {"kind"}
    assert of_measures_and_errors - of_tables_without_images <= RESERVED


def test_history_has_the_same_columns_whichever_version_wrote_it(finished: Path, tmp_path: Path) -> None:
    new = read_history(finished)
    assert new.val_images == "validation"
    stored = read_csv(finished / HISTORY_CSV)
    assert new.epochs["val_loss"].tolist() == stored["val_originals_loss"].tolist()
    assert new.epochs["watched_loss"].tolist() == stored["watched_loss"].tolist()
    (tmp_path / HISTORY_CSV).write_text(
        "epoch,train_loss,val_loss,val_auc,lr,train_s,val_s\n1,0.7,0.6,0.5,0.1,2.0,1.0\n", encoding="utf-8"
    )
    old = read_history(tmp_path)
    assert old.val_images == "validation, augmented copies included"
    assert list(old.epochs) == list(new.epochs)
    assert old.epochs.iloc[0].tolist() == [1, 0.7, 0.6, 0.6, 0.5, 0.1, 2.0, 1.0]


def test_readers_answer_for_what_a_run_does_not_have(tmp_path: Path) -> None:
    assert read_timing(tmp_path) == read_environment(tmp_path) == {}
    with pytest.raises(FileNotFoundError):
        read_history(tmp_path)
    (tmp_path / "measures.csv").write_text("image_id,grey,background_grey\n007,1.5,\n", encoding="utf-8")
    measures = read_measures(tmp_path)
    assert measures["image_id"].tolist() == ["007"]
    assert measures["grey"].tolist() == [1.5]
    assert measures["background_grey"].isna().all()
    (tmp_path / SPLIT_CSV).write_text("image_id,split,label\n007,test,1\n", encoding="utf-8")
    assert read_split(tmp_path, columns=["image_id", "label"]).to_numpy().tolist() == [["007", 1]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"5",
        b"\xff\x00",
        b"{" * 5000,
        b"dataset: []\ntrainer: 3\nsplit: x\n",
        b"1: 2\n",
        b"schema_version: 99\n",
    ],
)
def test_a_config_that_cannot_be_read_is_that_of_no_run(content: bytes, tmp_path: Path) -> None:
    typed = ("trainer.epochs=2", f"output_root={tmp_path}")
    config = to_plain(composed(*typed))
    damaged = run_folder(config, defaults=defaults_of(typed)).with_name("seed0-0ld0d1ge")
    finish(damaged, config)
    assert run_folder(config, defaults=defaults_of(typed)) == damaged
    (damaged / CONFIG_YAML).write_bytes(content)
    assert run_folder(config, defaults=defaults_of(typed)) != damaged
    assert find_runs(tmp_path) == {damaged: "finished"}
    with pytest.raises((Refusal, ValueError)):
        is_finished(damaged, config, made_from())
    assert read_json(damaged / METRICS_JSON) == made_from()

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
from dxa_tbs.config.compose import to_plain
from dxa_tbs.errors import Refusal
from dxa_tbs.runs.files import FAILED_JSON, METRICS_JSON, read_csv, read_json, write_csv, write_json
from dxa_tbs.runs.folder import claim_run, find_runs, is_finished, mark_failed, state_of
from dxa_tbs.runs.identity import read_config, run_folder

CONFIG: dict[str, object] = {"name": "runs", "optimizer": {"lr": 0.1}}


def folder(*overrides: str, evaluated_sha256: str | None = None) -> str:
    config = to_plain(composed(*overrides))
    return run_folder(config, defaults=defaults_of(overrides), evaluated_sha256=evaluated_sha256).as_posix()


def made_from(data: str = "d") -> dict[str, str | None]:
    return {"data_sha256": data, "weights_sha256": None}


def finish(run_dir: Path, config: dict[str, object], data: str = "d") -> None:
    with claim_run(run_dir, config, made_from(data)) as is_to_do:
        assert is_to_do
        write_json(run_dir / METRICS_JSON, made_from(data))


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
    finish(new.with_name("seed0-0ld0d1ge"), config | {"trainer": older})
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
    older: dict[str, object] = {"name": "runs", "dataset": {"name": "folder", "subgroups": [], "normal_folder": "N"}}
    finish(tmp_path / "run", older)
    newer = {"near_duplicates": "refuse", "patient_from": None}

    def now(**changes: object) -> dict[str, object]:
        dataset = older["dataset"]
        assert isinstance(dataset, dict)
        return {"name": "runs", "dataset": dataset | newer | changes}

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

"""dxa_tbs from Python: compose, train, load_run and load_study, as a user's script and a notebook call them."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL
from golden_runs import stored_runs
from test_old_runs import FINISHED, STORED
from test_tables import rebuild

import dxa_tbs
from dxa_tbs import api
from dxa_tbs.config.compose import compose_settings, default_settings, defaults_of, load_config, to_plain
from dxa_tbs.config.composed import ComposedConfig, Origin, check_again, with_origin
from dxa_tbs.config.kinds import KINDS, Kind, register_kind
from dxa_tbs.config.schema import AdhocConfig, Config
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.configure import refuse_what_is_fixed
from dxa_tbs.runs.files import CONFIG_YAML, METRICS_JSON, PREDICTIONS_CSV, read_csv, read_json
from dxa_tbs.runs.identity import run_folder

HEAVY = {"torch", "pandas", "numpy", "hydra", "omegaconf", "yaml"}


def fresh(code: str, *arguments: str) -> str:
    """Run code in a process of its own; return what it prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_else() -> None:
    code = f"import sys, dxa_tbs; print(sorted({HEAVY} & set(sys.modules)), set(dxa_tbs.__all__) <= set(dir(dxa_tbs)))"
    assert fresh(code) == "[] True"
    code = "import sys, dxa_tbs; dxa_tbs.compose, dxa_tbs.train; print({'torch', 'pandas'} & set(sys.modules))"
    assert fresh(code) == "set()"
    with pytest.raises(AttributeError, match="module 'dxa_tbs' has no attribute 'fit'"):
        dxa_tbs.fit  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    "imports",
    [
        "import dxa_tbs; dxa_tbs.train; import dxa_tbs.train",
        "import dxa_tbs.train; import dxa_tbs",
        "from dxa_tbs import train; import dxa_tbs",
        "from dxa_tbs.train import main; import dxa_tbs",
        "import dxa_tbs.api; import dxa_tbs",
    ],
)
def test_train_is_a_function_and_the_module_of_the_command_line_in_every_order_of_imports(imports: str) -> None:
    code = f"""
{imports}
from dxa_tbs import train as module
assert module is dxa_tbs.train
assert callable(dxa_tbs.train.main) and callable(module.main)
try:
    dxa_tbs.train("model=model3")
except dxa_tbs.errors.Refusal as refusal:
    print(refusal)
"""
    assert fresh(code) == "config: str given: give what dxa_tbs.compose([...]) returns"


@pytest.mark.slow
def test_a_users_script_passes_the_type_checker(tmp_path: Path) -> None:
    script = """
import dxa_tbs
config = dxa_tbs.compose(["model=model3"])
config.seed = 3
run = dxa_tbs.train(config)
auc: float = run.metrics["test"]["at_fixed"]["auc"]
print(dxa_tbs.load_run(run.folder).predict(["image.png"]), dxa_tbs.load_study("outputs"))
"""
    (tmp_path / "ours.py").write_text(script)
    (tmp_path / "wrong.py").write_text(script + "dxa_tbs.train(3)\ndxa_tbs.fit(config)\nrun.score\n")
    env = os.environ | {"MYPYPATH": str(Path(dxa_tbs.__file__).parents[1]), "MYPY_CACHE_DIR": str(tmp_path / "cache")}
    for name, wrong in (("ours.py", 0), ("wrong.py", 3)):
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",
            "--ignore-missing-imports",
            name,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
        assert done.stdout.count("error:") == wrong, done.stdout


@pytest.mark.slow
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(api)
    assert (results.failed, results.attempted) == (0, 7)


def folder_of(config: Config) -> Path:
    """Return the folder that dxa_tbs.train trains in."""
    checked, origin = check_again(config)
    return run_folder(to_plain(checked), defaults=defaults_of(origin.options, origin.searchpath))


def folder_of_command(*typed: str) -> Path:
    """Return the folder that the command line trains in, as train.py finds it."""
    cfg, choices = compose_settings(typed)
    return run_folder(to_plain(load_config(cfg)), defaults=default_settings(choices, []))


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (["model=model3"], "outputs/runs/phantom/adhoc/model3/seed0"),
        (["experiment=demo"], "outputs/demo/phantom_text/adhoc/model1/seed0"),
        (["experiment=quick", "model=squeezenet", "approach=head"], "outputs/quick/phantom_text/head/squeezenet/seed0"),
        (["seed=3", "name=other"], "outputs/other/phantom/adhoc/model4/seed3"),
        (["optimizer=adamw"], None),
        (["trainer.epochs=3", "model=model1"], None),
    ],
)
def test_a_run_from_python_has_the_folder_of_the_command_line(typed: list[str], name: str | None) -> None:
    config = dxa_tbs.compose(typed)
    assert folder_of(config) == folder_of_command(*typed)
    if name is not None:
        assert folder_of(config) == Path(name)
    seed = config.seed
    config.seed = 7
    assert folder_of(config).name == folder_of_command(*typed).name.replace(f"seed{seed}", "seed7")


def test_a_copy_of_a_configuration_can_be_trained_too() -> None:
    config = dxa_tbs.compose(["experiment=demo"])
    for again in (copy.deepcopy(config), dataclasses.replace(config, seed=3), pickle.loads(pickle.dumps(config))):
        assert check_again(again)[1].options["experiment"] == "demo"


def changed(**settings: Any) -> Config:
    """Return a configuration with changed attributes, by names such as trainer__epochs."""
    config = dxa_tbs.compose(["model=model3"])
    for name, value in settings.items():
        *sections, last = name.split("__")
        section: Any = config
        for part in sections:
            section = getattr(section, part)
        setattr(section, last, value)
    return config


def test_a_changed_configuration_is_checked_again_and_typed_again() -> None:
    checked, _ = check_again(changed(seed=3, trainer__epochs="7", trainer__precision="fp32", optimizer__lr=1))
    typed = compose_settings(["model=model3", "seed=3", "trainer.epochs=7", "trainer.precision=fp32", "optimizer.lr=1"])
    assert checked == load_config(typed[0])
    assert type(checked.optimizer.lr) is float


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"trainer__epoch": 3}, "config.trainer.epoch: no such setting"),
        ({"sede": 3}, "config.sede: no such setting"),
        ({"seed": "many"}, "seed: Value 'many' of type 'str' could not be converted to Integer"),
        ({"trainer__precision": "fp8"}, "trainer.precision: Invalid value 'fp8'"),
        ({"trainer__epochs": 0}, "trainer.epochs=0: must be at least 1"),
        ({"trainer__epochs": None}, "trainer.epochs: Incompatible value 'None'"),
        ({"model__name": "model1"}, "model.name=model1: is not the name of model=model3: compose with model=model1"),
        ({"model__filters": [8, "x"]}, r"model.filters\[1\]: Value 'x' of type 'str' could not be"),
        ({"optimizer": None}, "optimizer: field 'optimizer' is not Optional"),
        ({"trainer": {"epochs": 3}}, "trainer: Invalid type assigned: dict is not"),
    ],
)
def test_a_change_that_cannot_be_used_is_refused_in_one_line(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(Refusal, match=f"^{told}") as refusal:
        dxa_tbs.train(changed(**settings))
    assert "\n" not in str(refusal.value)


def test_a_configuration_of_unknown_origin_is_refused() -> None:
    bare = load_config(compose_settings(["model=model3"])[0])
    with pytest.raises(Refusal, match=r"config: Config given: give what dxa_tbs\.compose"):
        dxa_tbs.train(bare)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("model=model3", r'overrides="model=model3": is not a list: give \["model=model3"\]'),
        (["model=modl3"], "model=modl3: no such option: did you mean model3"),
        (["trainer.epoch=3"], "trainer.epoch: no such setting: did you mean trainer.epochs"),
        (["trainer.epochs=0"], "trainer.epochs=0: must be at least 1"),
        (["trainer.epochs=x"], "trainer.epochs=x: Value 'x' of type 'str'"),
        (["hydra.run.dir=x"], "hydra.run.dir=x: has no effect from Python: drop it"),
        (["evaluate=nope"], "evaluate=nope is not the folder of a finished"),
    ],
)
def test_overrides_that_cannot_be_used_are_refused_in_one_line(overrides: list[str], told: str) -> None:
    with pytest.raises(Refusal, match=f"^{told}") as refusal:
        dxa_tbs.compose(overrides)
    assert "\n" not in str(refusal.value)


def test_a_run_holds_what_its_folder_holds_and_predicts(finished: Path) -> None:
    run = dxa_tbs.load_run(str(finished))
    assert run.folder == finished
    assert run.metrics == read_json(finished / METRICS_JSON)
    assert run.predictions.equals(read_csv(finished / PREDICTIONS_CSV))
    assert run.history is not None
    assert run.history["epoch"].tolist() == [1]
    assert {"watched_loss", "val_loss", "val_auc"} < set(run.history)
    assert to_plain(run.config)["trainer"]["epochs"] == 1
    assert repr(run) == f"Run(folder={finished!r})"
    scores = run.predict(np.zeros((2, 224, 224), np.uint8), device="cpu")
    assert scores["score"].between(0, 1).all()
    with pytest.raises(Refusal, match="images: uint8"):
        run.predict(np.zeros((2, 10, 10), np.uint8))


def test_a_finished_run_is_loaded_and_not_trained_again(finished: Path, cache_dir: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    where = [f"output_root={finished.parents[4]}", f"cache_dir={cache_dir}"]
    for config in (dxa_tbs.compose([*SMALL, *where]), dxa_tbs.load_run(finished).config):
        assert dxa_tbs.train(config).folder == finished
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.slow
def test_a_run_of_the_command_line_is_found_from_python_and_the_other_way_round(
    cache_dir: Path, tmp_path: Path
) -> None:
    typed = [*SMALL, f"cache_dir={cache_dir}", f"output_root={tmp_path}"]
    subprocess.run([sys.executable, "-m", "dxa_tbs.train", *typed], capture_output=True, check=True)
    (made,) = tmp_path.glob("runs/phantom/adhoc/model3/seed0-*")
    config = dxa_tbs.compose(typed)
    assert dxa_tbs.train(config).folder == made
    config.seed = 1
    other = dxa_tbs.train(config)
    assert other.folder.name == made.name.replace("seed0", "seed1")
    again = subprocess.run(
        [sys.executable, "-m", "dxa_tbs.train", *typed, "seed=1"], capture_output=True, text=True, check=True
    )
    assert f"skipped, already finished: {other.folder}" in again.stdout + again.stderr


@pytest.mark.parametrize("name", FINISHED)
def test_runs_of_version_0_1_0_are_loaded(name: str) -> None:
    run = dxa_tbs.load_run(STORED / "outputs" / name)
    assert (run.history is None) == ("evaluated_run" in run.metrics)
    assert len(run.predictions)


def test_runs_that_are_unfinished_or_damaged_are_refused_in_one_line(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"holds no run: give the folder of a run$"):
        dxa_tbs.load_run(tmp_path)
    with pytest.raises(Refusal, match=r"is unfinished: finish the run first$"):
        dxa_tbs.load_run(STORED / "outputs/interrupted/phantom/adhoc/model3/seed0-71b950a4")
    with pytest.raises(Refusal, match=r"is failed: finish the run first$"):
        dxa_tbs.load_run(STORED / "outputs/failed/phantom/adhoc/model3/seed0-e0ac6f37")
    damaged = shutil.copytree(finished, tmp_path / "run")
    run = dxa_tbs.load_run(damaged)
    text = (damaged / PREDICTIONS_CSV).read_text()
    (damaged / PREDICTIONS_CSV).write_text(text.replace("0.", "0.1", 1))
    with pytest.raises(Refusal, match=r"is damaged: predictions\.csv differs from what the run wrote"):
        dxa_tbs.load_run(damaged)
    with pytest.raises(Refusal, match="is damaged"):
        run.predict(np.zeros((2, 224, 224), np.uint8))
    stored = (damaged / CONFIG_YAML).read_text()
    (damaged / CONFIG_YAML).write_text(stored.replace("schema_version: ", "schema_version: 9"))
    with pytest.raises(Refusal, match="written by a newer version"):
        dxa_tbs.load_run(damaged)


@dataclass
class OwnNetworkConfig(AdhocConfig):
    factory: str = ""


@pytest.fixture
def own_network() -> Iterator[Config]:
    register_kind("model", "own", Kind(OwnNetworkConfig, "dxa_tbs.models.adhoc:build_adhoc"))
    config = dxa_tbs.compose(["model=model3"])
    config.model = OwnNetworkConfig(**vars(config.model), factory="net:build")
    yield config
    del KINDS["model"]["own"]


def test_code_that_only_a_run_folder_names_is_not_imported(own_network: Config) -> None:
    assert isinstance(own_network, ComposedConfig)
    checked, origin = check_again(own_network)
    refuse_what_is_fixed(checked, origin)
    loaded = with_origin(own_network, Origin(own_network.origin.options, run="outputs/run"))  # type: ignore[union-attr]
    with pytest.raises(Refusal, match=r"outputs/run needs code of yours.*give model=custom model\.factory=net:build"):
        dxa_tbs.train(loaded)


def test_an_evaluation_keeps_the_settings_of_its_training(finished: Path) -> None:
    config = dxa_tbs.compose([f"evaluate={finished}", "name=again"])
    refuse_what_is_fixed(*check_again(config))
    config.trainer.device = "cuda"
    config.evaluation.threshold = 0.25
    refuse_what_is_fixed(*check_again(config))
    config.trainer.epochs = 7
    with pytest.raises(Refusal, match=r"^trainer\.epochs=7: is fixed by the run given with evaluate=<run>"):
        dxa_tbs.train(config)
    other = dxa_tbs.compose(["model=model1"])
    other.evaluate = str(finished)
    with pytest.raises(Refusal, match="is fixed by the run"):
        dxa_tbs.train(other)


def test_a_study_is_the_numbers_of_the_tables_and_nothing_is_written(tmp_path: Path) -> None:
    root = shutil.copytree(stored_runs(), tmp_path / "outputs")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    study = dxa_tbs.load_study(root, partial=True)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert list(study) == [
        *("experiment", "approach", "model", "metric", "value", "low", "high", "seeds", "n", "marks", "folder")
    ]
    rebuild(root)
    of_papers = [pd.read_csv(path) for path in root.glob("tables/table_*.csv")]
    others = [pd.read_csv(path) for path in root.glob("tables/other_experiments.csv")]
    tables = pd.concat([table for table in of_papers + others if "metric" in table]).rename(columns={"run": "folder"})
    shared = ["experiment", "model", "metric", "value", "low", "high", "seeds", "n", "marks", "folder"]
    key = ["folder", "metric"]
    theirs = tables[shared].fillna({"marks": ""}).sort_values(key, ignore_index=True)
    ours = study[shared].sort_values(key, ignore_index=True)
    assert len(ours) == 60
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, rtol=1e-12)
    assert (study["approach"] == study["folder"].str.split("/").str[-3]).all()


def test_a_study_with_runs_that_cannot_be_used_is_refused_unless_it_may_be_partial(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no such folder"):
        dxa_tbs.load_study(tmp_path / "nowhere")
    with pytest.raises(Refusal, match="no finished run below it"):
        dxa_tbs.load_study(tmp_path)
    root = shutil.copytree(STORED / "outputs", tmp_path / "outputs")
    with pytest.raises(Refusal, match=r"of its runs cannot be used .*: finish them or move them away") as refusal:
        dxa_tbs.load_study(root)
    assert "\n" not in str(refusal.value)
    study = dxa_tbs.load_study(root, partial=True)
    left_out = study.attrs["left_out"]
    assert len(left_out) == 1 + len(refusal.value.details)
    assert any("interrupted" in line for line in left_out)
    for name in ("interrupted", "failed"):
        shutil.rmtree(root / name)
    whole = dxa_tbs.load_study(root)
    assert whole.drop(columns="experiment").equals(study.drop(columns="experiment"))
    assert json.dumps(whole.attrs) == '{"left_out": []}'

"""As typed and answered: refusals, a sweep, a killed run, the tables. Every command is a process of its own."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import SMALL

from dxa_tbs.config.schema import conf_dir

ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}


def dxa(module: str, *arguments: str, cwd: Path, timeout_s: float = 170) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"dxa_tbs.{module}", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=timeout_s
    )


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["mdel=model1"], "mdel: no such setting: did you mean model?"),
        (["optimizer.lrr=0.1"], "optimizer.lrr: no such setting: did you mean optimizer.lr?"),
        (["lr=0.1"], "lr: no such setting: did you mean optimizer.lr?"),
        (
            ["optimizer=adamw", "optimizer.momentum=0.9"],
            "optimizer.momentum: the option chosen for optimizer has no such",
        ),
        (["trainer.epochs=1.5"], "trainer.epochs=1.5: Value '1.5' of type 'float' could not be converted to Integer"),
        (["labels.rule=both"], "labels.rule=both: Invalid value 'both', expected one of [binary, extremes]"),
        (["labels.rule=three_class"], "labels.rule=three_class: Invalid value 'three_class', expected one of [binary,"),
        (
            ["model=modle4"],
            "model=modle4: no such option: did you mean model4?; options: alexnet, custom, densenet121, model1,",
        ),
        (
            ["approach=full", "model=model4"],
            "approach=full: retrains an ImageNet network, which model4 is not: use approach=adhoc",
        ),
        (["model.weights=imagenet"], "model.weights=imagenet: model4 is trained from scratch: drop it"),
        (["model=squeezenet"], "model=squeezenet: is an ImageNet network: use approach=full or approach=head"),
        (
            ["model=resnet18", "approach=head", "approach.frozen_bn=train"],
            "approach.frozen_bn=train: changes the features with every batch: give approach.cache_features=false too",
        ),
        (
            ["model=vgg16", "approach=full", "model.weights=lost.pth"],
            "model.weights=lost.pth: no such file: use imagenet, none, or the path of a state dict",
        ),
        (["model=resnet18", "approach=full", "model.backbone_dropout=0.5"], "model.backbone_dropout=0.5: resnet18 has"),
        (["experiment=dmo"], "experiment=dmo: no such option: did you mean demo?; options: demo"),
        (["+unknown=1"], "unknown is not a setting: drop it"),
        (["model=null"], "a group cannot be null"),
        (["seed=-1"], "seed=-1: must be between 0 and"),
        (["seed=0,1"], "seed=0,1: has several values: add -m"),
        (["dataset=table", "dataset.root="], "dataset.root is empty: give dataset.root=<folder of the images>"),
        (["dataset=folder"], "dataset.root is not set: give dataset.root=<value>"),
        (
            ["dataset=folder", "dataset.root=a=b"],
            "dataset.root=a=b: is not of the form key=value; put a value that contains =",
        ),
        (["model"], "model: is not of the form key=value\n"),
        (["name=a b"], "name=a b: is used as a folder name: use letters, digits, . - and _"),
        (["evaluate=nowhere"], "evaluate=nowhere is not the folder of a finished, trained run"),
        (["hydra.run.dir=x"], "hydra.run.dir=x: does not set the folder of a run"),
        (["recipe=typo"], "recipe=typo: no such option; options: model1_sgd, model2_sgd,"),
        (["-m", "seed=range(0,0)"], "seed=range(0,0): has no values, so nothing would run: give at least one"),
        (["-m", "model=glob(zz*)"], "model=glob(zz*): has no values"),
        (["model.input_std=inf"], "model.input_std=inf: must be a list, such as [0.5,0.5,0.5]"),
        (["model.input_std=[inf,1,1]"], "model.input_std=[inf, 1.0, 1.0]: must be finite: give a number"),
        (["dataset.subgroups=[nonsense]"], "dataset.subgroups=['nonsense']: the cohort has no column nonsense: drop"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_typed_wrong_is_answered_in_one_line(arguments: list[str], answer: str, tmp_path: Path) -> None:
    done = dxa("train", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"dxa_tbs: {answer}")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_users_own_model_comes_from_a_folder_of_theirs_and_its_typo_is_named(tmp_path: Path) -> None:
    (tmp_path / "my/model").mkdir(parents=True)
    mine = tmp_path / "my/model/mine.yaml"
    mine.write_text("defaults: [model4, _self_]\nname: mine\nfilters: [4, 8]\n")
    done = dxa("train", "--config-dir", "my", "model=mine", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0
    assert "name: mine" in done.stdout
    mine.write_text("defaults: [model4, _self_]\nname: mine\nfiltres: [4, 8]\n")
    done = dxa("train", "--config-dir", "my", "model=mine", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "dxa_tbs: my/model/mine.yaml: model.filtres: no such setting: did you mean model.filters?\n"


@pytest.mark.parametrize(
    ("file", "text", "answer"),
    [
        (
            "model/mine",
            "defaults: [model4, _self_]\nname: mine\nfilters: abc",
            "model.filters: abc: must be a list",
        ),
        (
            "model/mine",
            "defaults: [model4, _self_]\nname: mine\nfilters: [a]",
            "model.filters[0]: Value 'a' of type 'str' could not be converted to Integer",
        ),
        (
            "model/mine",
            "defaults: [modle4, _self_]\nname: mine",
            "defaults: model=modle4: no such option: did you mean",
        ),
        (
            "model/mine",
            "name: mine\nfilters: [4]",
            "model.filters: no such setting: the model schema in its defaults does not have it",
        ),
        (
            "model/mine",
            "defaults: foo\nname: mine",
            "defaults must be a list (got str): write, for example, defaults: [model4,",
        ),
        ("model/mine", "name: mine\nfilters: [4", "line 3: expected ',' or ']'"),
        (
            "dataset/mine",
            "defaults: [table, _self_]\nname: mine\nroot: .\nlabel_from: both",
            "dataset.label_from: Invalid value 'both', expected one of [auto, tbs, label]",
        ),
        (
            "experiment/mine",
            "# @package _global_\ntrainer: {epochs: 1.5}",
            "trainer.epochs: Value '1.5' of type 'float' could not be converted to Integer",
        ),
        (
            "experiment/mine",
            "# @package _global_\ntrainr: {epochs: 2}",
            "trainr: no such setting: did you mean trainer?",
        ),
        ("experiment/mine", "# @package _global_\ntrainer: 5", "trainer: 5: must be a group of settings"),
        (
            "experiment/mine",
            "# @package _global_\ndefaults: [override /modell: model1]",
            "defaults: override modell: no such group: did you mean model?",
        ),
    ],
)
@pytest.mark.parametrize("flag", [["--config-dir", "my"], ["--config-dir=my"]], ids=["apart", "joined"])
def test_what_is_wrong_in_a_file_of_ones_own_names_the_file(
    file: str, text: str, answer: str, flag: list[str], tmp_path: Path
) -> None:
    path = tmp_path / f"my/{file}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"{text}\n")
    done = dxa("train", *flag, file.replace("/", "="), cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"my/{file}.yaml" in line.split(": ")[1]
    assert answer in line


def test_a_file_of_ones_own_that_sets_no_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my/model").mkdir(parents=True)
    (tmp_path / "my/model/mine.yaml").write_text("")
    done = dxa("train", "--config-dir", "my", "model=mine", cwd=tmp_path)
    assert done.stderr == "dxa_tbs: model.name is not set by model=mine: add name: mine to your own file\n"


@pytest.mark.parametrize(
    ("own", "typed", "batch_size", "optimizer"),
    [
        ("defaults: [model4, _self_]\n", [], 48, {"lr": 0.0001, "momentum": 0.9}),
        ("defaults: [model1, _self_]\n", [], 24, {"lr": 0.001, "momentum": 0.6}),
        ("defaults: [model4, _self_]\n", ["optimizer=adamw"], 48, {"lr": 0.001}),
        ("defaults: [model4, _self_]\n", ["optimizer.lr=0.5"], 48, {"lr": 0.5, "momentum": 0.9}),
        ("defaults: [model4, _self_, override /recipe@_global_.recipe: model2_sgd]\n", [], 48, {"momentum": 0.7}),
        ("defaults: [parent, _self_]\n", [], 48, {"lr": 0.0001, "momentum": 0.9}),
        ("defaults: [model4, _self_]\n", ["optimizer=mine"], 48, {"lr": 0.5}),
        (
            "defaults: [/schema/model@_here_: adhoc, _self_]\nweights: none\nfc_widths: [9]\n"
            "input_mean: [0, 0, 0]\ninput_std: [1, 1, 1]\n",
            [],
            24,
            {"lr": 0.0001, "momentum": 0.9},
        ),
    ],
    ids=["of model4", "of model1", "adamw", "typed", "own recipe", "of one derived", "own optimizer", "of none"],
)
def test_a_model_trains_with_the_settings_of_the_one_it_derives_from(
    own: str, typed: list[str], batch_size: int, optimizer: dict[str, float], tmp_path: Path
) -> None:
    (tmp_path / "my/model").mkdir(parents=True)
    (tmp_path / "my/model/parent.yaml").write_text("defaults: [model4, _self_]\nname: parent\n")
    (tmp_path / "my/model/wide.yaml").write_text(f"{own}name: wide\nfilters: [4, 8]\n")
    (tmp_path / "my/optimizer").mkdir()
    (tmp_path / "my/optimizer/mine.yaml").write_text("defaults: [adamw, _self_]\nname: mine\nlr: 0.5\n")
    done = dxa("train", "--config-dir", "my", "model=wide", *typed, "--cfg", "job", cwd=tmp_path)
    config = yaml.safe_load(done.stdout)
    assert config["model"]["filters"] == [4, 8]
    assert config["trainer"]["batch_size"] == batch_size
    assert {key: config["optimizer"][key] for key in optimizer} == optimizer


def test_help_shows_commands_groups_and_settings(tmp_path: Path) -> None:
    done = dxa("train", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for text in ("python -m dxa_tbs.train -m", "patience: 15"):
        assert text in done.stdout
    groups = ("model", "approach", "dataset", "split", "augmentation", "optimizer", "experiment")
    for group in (*groups, "sampling", "schedule", "loss", "task"):
        listed = re.search(rf"^{group}: +(.*)$", done.stdout, re.MULTILINE)
        assert listed is not None
        assert set(listed[1].split(", ")) == {path.stem for path in (conf_dir() / group).glob("*.yaml")}
    assert "schema" not in done.stdout


@pytest.mark.slow
def test_the_phantom_is_written_once_and_a_full_folder_is_left_alone(tmp_path: Path) -> None:
    few = ("dataset.num_normal=2", "dataset.num_degraded=1", "split=stratified")
    assert dxa("phantom", "hospital", *few, cwd=tmp_path).returncode == 0
    assert len(list((tmp_path / "hospital/images").glob("*.png"))) == 3
    again = dxa("phantom", "hospital", *few, cwd=tmp_path)
    assert again.returncode == 1
    assert again.stderr == "dxa_tbs: hospital: is not an empty folder: name a new one\n"


@pytest.mark.slow
def test_a_sweep_is_finished_then_skipped_and_tabulated(tmp_path: Path) -> None:
    sweep = ("-m", *SMALL, "model=model1,model2,model3,model4", "trainer.epochs=2")
    first = dxa("train", *[text for text in sweep if text not in ("model=model3", "trainer.epochs=1")], cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert len(list((tmp_path / "outputs").rglob("metrics.json"))) == 4
    started = time.monotonic()
    again = dxa("train", *[text for text in sweep if text not in ("model=model3", "trainer.epochs=1")], cwd=tmp_path)
    assert again.stdout.count("skipped, already finished") == 4
    assert time.monotonic() - started < 60
    dxa("tables", "outputs", cwd=tmp_path)
    lines = (tmp_path / "outputs/tables/table_v.md").read_text(encoding="utf-8").splitlines()
    shown = [line.split("|")[1].strip() for line in lines if line.startswith("| model")]
    assert shown == [f"model{number} adhoc" for number in (1, 2, 3, 4)]


SHOW = """
from pathlib import Path
from hydra.experimental.callback import Callback

class Show(Callback):
    def on_job_end(self, config, job_return, **kwargs):
        with Path("returned.txt").open("a") as file:
            file.write(f"{job_return.return_value!r}\\n")
"""


@pytest.mark.slow
def test_a_sweeper_gets_the_watched_loss_of_the_tested_epoch_also_of_a_finished_run(tmp_path: Path) -> None:
    (tmp_path / "show.py").write_text(SHOW)
    sweep = ["-m", *SMALL[:-2], "trainer.device=cpu", "trainer.epochs=3", "seed=0,1"]
    callback = "+hydra.callbacks.show._target_=show.Show"
    for _ in range(2):  # the second time both are finished
        done = dxa("train", *sweep, callback, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("skipped, already finished") == 2
    expected = []
    for run_dir in sorted(path.parent for path in (tmp_path / "outputs").rglob("metrics.json")):
        history = pd.read_csv(run_dir / "history.csv").set_index("epoch")
        expected.append(history.loc[json.loads((run_dir / "metrics.json").read_text())["tested_epoch"], "watched_loss"])
        assert expected[-1] == history["watched_loss"].min()
    returned = [float(line) for line in (tmp_path / "returned.txt").read_text().splitlines()]
    assert returned == pytest.approx(expected * 2)


@pytest.mark.slow
def test_all_ten_pretrained_experiments_in_one_sweep(tmp_path: Path) -> None:
    networks = ("resnet18", "alexnet", "vgg16", "densenet121", "squeezenet")
    typed = [*SMALL[:-3], "trainer.epochs=1", "trainer.device=cpu", "model.weights=none", "augmentation=none"]
    command = ["-m", *typed, f"model={','.join(networks)}", "approach=full,head"]
    done = dxa("train", *command, cwd=tmp_path, timeout_s=600)
    assert done.returncode == 0, done.stderr
    runs = sorted(path.parent for path in (tmp_path / "outputs").rglob("metrics.json"))
    assert len(runs) == 10
    for run in runs:
        metrics, timing = (json.loads((run / name).read_text()) for name in ("metrics.json", "timing.json"))
        assert metrics["initialisation"] == "none"
        assert "model.weights=none: random initialisation, nothing is pretrained" in metrics["warnings"]
        assert (timing["features_from_cache"] is False) == (run.parts[-3] == "head")
        print(run.parts[-3], run.parts[-2], timing["peak_memory_mib"], "MiB")
    dxa("tables", "outputs", cwd=tmp_path)
    for number in ("iii", "iv"):
        table = pd.read_csv(tmp_path / f"outputs/tables/table_{number}.csv")
        assert list(dict.fromkeys(table["model"])) == list(networks)
        assert table["marks"].str.contains("a").all()


@pytest.mark.slow
def test_a_failing_job_leaves_the_others_of_its_sweep_alone(tmp_path: Path) -> None:
    sweep = [*SMALL, "optimizer.lr=1e30,0.001"]
    done = dxa("train", "-m", *sweep, cwd=tmp_path)
    assert done.returncode == 1
    assert "not run: the loss is not a number after one epoch: lower optimizer.lr=1e+30" in done.stdout
    assert len(list((tmp_path / "outputs").rglob("metrics.json"))) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_killed_run_is_unfinished_named_and_started_anew(tmp_path: Path) -> None:
    arguments = [*SMALL, "trainer.epochs=400", "trainer.patience=null"]
    command = [sys.executable, "-m", "dxa_tbs.train", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert any("epoch 1/400" in line for line in running.stdout)
        running.send_signal(signal.SIGKILL)
    assert not list((tmp_path / "outputs").rglob("metrics.json"))
    tables = dxa("tables", "outputs", cwd=tmp_path)
    assert tables.returncode == 1
    assert "not finished: runs/phantom/adhoc/model3/seed0" in tables.stderr
    run_dir = next((tmp_path / "outputs").rglob("history.csv")).parent
    (run_dir / "left_over.csv").write_text("")
    listens = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background does not
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, preexec_fn=listens
    ) as running:
        assert running.stdout is not None
        assert any("epoch 1/400" in line for line in running.stdout)
        assert not (run_dir / "left_over.csv").exists()
        running.send_signal(signal.SIGINT)
        assert running.wait() == 130


SWEEP = """
import gc, weakref
import torch
from dxa_tbs.pipeline import experiment
from dxa_tbs import train
from dxa_tbs.errors import Refusal

held = []

def run_experiment(config, *, defaults, on_progress):
    gc.collect()
    print("still held:", [made() is not None for made in held])
    weights = torch.ones(1000, device=DEVICE)
    held.append(weakref.ref(weights))
    try:
        raise torch.OutOfMemoryError("CUDA out of memory")
    except torch.OutOfMemoryError:
        if config.seed == 0:
            raise Refusal("the GPU has too little memory") from None
        raise

experiment.run_experiment = run_experiment
train.main()
"""


@pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)]
)
def test_a_failed_job_of_a_sweep_leaves_its_memory_to_the_next(device: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SWEEP.replace("DEVICE", repr(device)), "-m", "seed=0,1,2"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if "still held" in line] == [
        "still held: []", "still held: [False]", "still held: [False, False]",
    ]  # fmt: skip

"""Trackers: what they are told, that they cannot harm a run, and that the libraries' own clients read it back."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, defaults_of
from toys.tracker import ToyConfig

from dxa_tbs.config.checks import check_config
from dxa_tbs.config.checks import tracker as checks
from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.schema import WandbConfig
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.clock import Clock
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.pipeline.tracked import final_figures, run_start, tracker_of
from dxa_tbs.report.runs import NOT_OF_THE_EXPERIMENT
from dxa_tbs.runs.files import PREDICTIONS_CSV, TRAIN_LOG, read_csv
from dxa_tbs.runs.folder import find_runs
from dxa_tbs.runs.identity import flatten, flatten_without, identity, read_config, run_folder
from dxa_tbs.runs.records import read_metrics
from dxa_tbs.tracking import remote
from dxa_tbs.tracking.remote import tracked
from dxa_tbs.tracking.tracker import RunStart

START = RunStart("clinic", "clinic/phantom/adhoc/model3/seed0", {"model": "model3", "seed": 0}, {"trainer.epochs": 2})
EPOCHS = [{"epoch": 1, "train_loss": 0.75, "lr": 0.001}, {"epoch": 2, "train_loss": 0.5, "lr": 0.001}]
FINAL = {"test/auc": 0.875, "val/f1": 0.25}
LIBRARIES = ("tensorboard", "mlflow", "wandb")


def told(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def track(function: str, start: RunStart = START, **settings: object) -> None:
    with tracked("it", function, start, settings) as tracker:
        for epoch in EPOCHS:
            tracker.log_epoch(epoch)
        tracker.finish(FINAL)


def track_toy(file: Path, **does: str) -> list[Any]:
    track("toys.tracker:open_toy", file=str(file), does=does)
    return told(file)


def test_a_tracker_is_told_the_start_each_epoch_and_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start, *calls = track_toy(tmp_path / "told")
    assert start[1] == {
        "study": START.study, "run": START.run, "identity": START.identity, "settings": START.settings,
    }  # fmt: skip
    assert calls == [["log_epoch", EPOCHS[0]], ["log_epoch", EPOCHS[1]], ["finish", FINAL]]
    with (
        pytest.raises(KeyboardInterrupt),
        tracked("it", "toys.tracker:open_toy", START, {"file": str(tmp_path / "stopped"), "does": {}}) as tracker,
    ):
        tracker.log_epoch(EPOCHS[0])
        raise KeyboardInterrupt
    assert [call for call, _ in told(tmp_path / "stopped")] == ["start", "log_epoch", "fail"]
    assert not caplog.messages


@pytest.mark.parametrize("call", ["start", "log_epoch", "finish"])
@pytest.mark.parametrize(
    ("does", "warning"),
    [
        ("raise", "RuntimeError: the disk is full"),
        ("end", "its process has ended"),
        ("hang", "no answer within 1 s"),
    ],
)
def test_a_tracker_that_fails_at_any_call_is_dropped_after_one_warning(
    call: str,
    does: str,
    warning: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 1.0 if does == "hang" else 60.0)
    calls = track_toy(tmp_path / "told", **{call: does})
    assert [name for name, _ in calls][-1] == call
    assert caplog.messages == [f"it is dropped, and the run goes on without it: {warning}"]


def test_a_run_waits_for_a_slow_tracker_only_when_it_is_far_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"file": str(tmp_path / "told"), "does": {"log_epoch": "hang"}}
    with tracked("it", "toys.tracker:open_toy", START, settings) as tracker:
        monkeypatch.setattr(remote, "ANSWER_S", 0.5)
        for _ in range(remote.WINDOW):
            tracker.log_epoch(EPOCHS[0])
        assert not caplog.messages
        tracker.log_epoch(EPOCHS[0])
        assert len(caplog.messages) == 1
        for _ in range(10_000):  # much more than a pipe holds
            tracker.log_epoch(EPOCHS[0])
        tracker.finish(FINAL)
    assert len(caplog.messages) == 1


def test_what_a_library_prints_warns_of_and_seeds_stays_in_its_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    assert len(track_toy(tmp_path / "told", start="shout", log_epoch="shout", finish="shout")) == 4
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    assert after == before
    assert capfd.readouterr() == ("", "")
    assert not caplog.messages


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_the_run_of_a_process_that_was_killed_is_recorded_as_failed(tmp_path: Path) -> None:
    code = f"""
import time
from dxa_tbs.tracking.remote import tracked
from dxa_tbs.tracking.tracker import RunStart
settings = {{"file": {str(tmp_path / "told")!r}, "does": {{}}}}
with tracked("it", "toys.tracker:open_toy", RunStart("", "", {{}}, {{}}), settings):
    print("started", flush=True)
    time.sleep(600)
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while len(told(tmp_path / "told")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [call for call, _ in told(tmp_path / "told")] == ["start", "fail"]


def test_nothing_of_a_library_is_imported_where_the_run_is() -> None:
    code = (
        "import sys, dxa_tbs.train, dxa_tbs.pipeline.experiment, dxa_tbs.tracking.worker; "
        f"sys.exit(bool({set(LIBRARIES)} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_tracker_is_part_of_no_identity(tmp_path: Path) -> None:
    plain, tracked_by = (
        to_plain(composed(f"output_root={tmp_path}", "model=model3", f"tracker={name}")) for name in ("none", "wandb")
    )
    assert identity(plain) == identity(tracked_by)
    defaults = defaults_of(["model=model3"])
    assert run_folder(plain, defaults=defaults) == run_folder(tracked_by, defaults=defaults)
    of_experiments = [flatten_without(NOT_OF_THE_EXPERIMENT, settings) for settings in (plain, tracked_by)]
    assert of_experiments[0] == of_experiments[1]
    assert set(flatten(plain)) - set(identity(plain)) == {
        *("output_root", "cache_dir", "evaluate", "dataset.near_duplicates", "evaluation.shown_errors"),
        *("trainer.device", "tracker.name"),
    }


def test_a_section_without_effect_takes_no_setting_with_it_that_only_begins_like_it() -> None:
    settings = {"tracker": {"name": "none"}, "tracker_of": 1, "trainer": {"device": "cpu", "device_2": "x"}}
    assert flatten_without(["tracker", "trainer.device"], settings) == {"tracker_of": 1, "trainer.device_2": "x"}


def test_a_library_that_is_not_installed_is_refused_and_a_folder_of_its_name_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in LIBRARIES:
        check_config(composed(f"tracker={library}"))
    (tmp_path / "notthere").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(checks.PACKAGES, WandbConfig, ("wandb", "notthere"))
    with pytest.raises(Refusal) as refusal:
        check_config(composed("tracker=wandb"))
    assert str(refusal.value) == ("tracker=wandb: needs notthere, not installed here: pip install dxa-tbs[wandb]")


@pytest.mark.parametrize("store", ["http://localhost:5000", "databricks://x", "sqlite:///mlflow.db", "file:/tmp/x"])
def test_a_store_that_is_no_local_path_is_refused(store: str) -> None:
    with pytest.raises(Refusal, match="only local stores are supported: give a file"):
        check_config(composed("tracker=mlflow", f"tracker.store={store}"))
    for local in ("C:/mlflow.db", "mlruns", "/data/mlflow.db"):
        check_config(composed("tracker=mlflow", f"tracker.store={local}"))


def test_a_tracker_gets_no_path(tmp_path: Path) -> None:
    config = composed(
        f"output_root={tmp_path}", "dataset=table", "dataset.root=/home/bob/p", "dataset.table=bob.csv",
        "split=file", "split.path=bob/split.csv", "approach=full", "model=alexnet", "model.weights=bob/w.pth",
        "name=clinic", "tracker=mlflow",
    )  # fmt: skip
    start = run_start(config, tmp_path / "clinic/table/full/alexnet/seed0")
    assert start.run == "clinic/table/full/alexnet/seed0"
    assert start.study == "clinic"
    text = json.dumps([start.identity, start.settings])
    assert "bob" not in text
    assert str(tmp_path) not in text
    assert not {"model.weights", "output_root", "cache_dir", "tracker.store"} & set(start.settings)
    assert start.settings["trainer.epochs"] == 50
    assert start.settings["dataset.subgroups"] == '["age", "sex", "bmi", "scanner"]'


def test_final_figures_are_those_at_the_fixed_threshold_as_far_as_they_are_defined() -> None:
    of_split = {"at_fixed": {"auc": 0.5, "tp": 3, "f1": None, "mcc": float("nan")}, "at_val_f1": {"auc": 1.0}}
    assert final_figures({"test": of_split, "epochs": 3}) == {"test/auc": 0.5, "test/tp": 3.0}
    assert final_figures({"val": {"mae": 0.25}}) == {"val/mae": 0.25}  # of another task


def test_the_folders_of_a_tracker_are_no_runs(finished: Path, tmp_path: Path) -> None:
    files = tmp_path / "wandb/run-20260301_120000-abc"
    (files / "files").mkdir(parents=True)
    (files / "run-abc.wandb").write_bytes(b"")
    (files / "files/config.yaml").write_text("wandb_version: 1\n")
    (tmp_path / "wandb/phantom/adhoc/model3").mkdir(parents=True)  # of the study name=wandb
    (tmp_path / "wandb/phantom/adhoc/model3/seed0").symlink_to(finished, target_is_directory=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").write_text("seed: 0\n")
    assert list(find_runs(tmp_path)) == [tmp_path / "other"]


def run_with(config_tracker: Mapping[str, str], root: Path, cache_dir: Path, *typed: str) -> tuple[Path, list[Any]]:
    """Train with the toy tracker; return the run folder and what the tracker was told."""
    file = root / "told"
    config = composed(*SMALL, f"output_root={root}", f"cache_dir={cache_dir}", *typed)
    config.tracker = ToyConfig("toy", file=str(file), does=dict(config_tracker))
    run_dir = run_experiment(config, defaults=defaults_of([*SMALL, *typed]))
    return run_dir, told(file) if file.exists() else []


@pytest.mark.slow
def test_a_run_with_a_tracker_that_fails_gives_the_same_results_and_records_no_warning(
    finished: Path, cache_dir: Path, tmp_path: Path
) -> None:
    run_dir, calls = run_with({"start": "shout", "log_epoch": "raise"}, tmp_path, cache_dir)
    assert [call for call, _ in calls] == ["start", "log_epoch"]
    assert calls[0][1]["run"] == run_dir.relative_to(tmp_path).as_posix()
    assert (run_dir / PREDICTIONS_CSV).read_bytes() == (finished / PREDICTIONS_CSV).read_bytes()
    facts, theirs = read_metrics(run_dir), read_metrics(finished)
    assert facts["warnings"] == theirs["warnings"]
    assert (facts["test"], facts["files_sha256"]["model.pt"]) == (theirs["test"], theirs["files_sha256"]["model.pt"])
    lines = [line for line in (run_dir / TRAIN_LOG).read_text().splitlines() if "WARNING toy is dropped" in line]
    assert len(lines) == 1
    assert read_config(run_dir)["tracker"]["name"] == "toy"

    again = tmp_path / "told"
    again.unlink()
    assert run_with({}, tmp_path, cache_dir) == (run_dir, [])  # skipped, and not tracked again


@pytest.mark.slow
def test_a_run_is_tracked_epoch_by_epoch_and_an_evaluation_by_its_final_figures(
    cache_dir: Path, tmp_path: Path
) -> None:
    run_dir, (start, *epochs, end) = run_with({}, tmp_path, cache_dir, "trainer.epochs=2")
    history = read_csv(run_dir / "history.csv").to_dict("records")
    assert epochs == [["log_epoch", pytest.approx(line, rel=1e-12)] for line in history]
    at_fixed = read_metrics(run_dir)["test"]["at_fixed"]
    assert end[0] == "finish"
    assert {name: value for name, value in end[1].items() if name.startswith("test/")} == {
        f"test/{name}": value for name, value in at_fixed.items() if value is not None
    }
    assert not start[1]["identity"]["is_evaluation"]
    (tmp_path / "told").unlink()
    from test_experiment import evaluate  # here: it imports much

    config = read_config(evaluate(tmp_path, cache_dir, run_dir, "name=plain"))
    assert config["tracker"]["name"] == "none"  # that of the command, not that of the run
    evaluated = composed(*SMALL, "trainer.epochs=2", f"output_root={tmp_path}", f"cache_dir={cache_dir}", "name=again")
    evaluated.evaluate = str(run_dir)
    evaluated.tracker = ToyConfig("toy", file=str(tmp_path / "told"), does={})
    run_experiment(evaluated)
    assert [call for call, _ in told(tmp_path / "told")] == ["start", "finish"]
    assert told(tmp_path / "told")[0][1]["identity"]["is_evaluation"]


def test_the_time_that_a_tracker_takes_to_start_is_not_the_runs() -> None:
    clock = Clock()
    with clock.paused():
        time.sleep(0.3)
    assert clock.since_start_s() < 0.3


def test_a_failed_run_is_told_to_the_tracker(cache_dir: Path, tmp_path: Path) -> None:
    config = composed(*SMALL, f"output_root={tmp_path}", f"cache_dir={cache_dir}")
    config.tracker = ToyConfig("toy", file=str(tmp_path / "told"), does={})
    with pytest.raises(RuntimeError, match="out of paper"), tracker_of(config, tmp_path / "runs/x"):
        raise RuntimeError("out of paper")
    assert [call for call, _ in told(tmp_path / "told")] == ["start", "fail"]


def test_tensorboard_reads_its_events_and_a_second_attempt_replaces_the_first(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    def hparams(tag: str) -> Any:
        content = events.summary_metadata[f"_hparams_/{tag}"].plugin_data.content
        return getattr(HParamsPluginData.FromString(content), tag)

    for _ in range(2):
        track("dxa_tbs.tracking.tensorboard:open_tensorboard", folder=str(tmp_path))
    (file,) = (tmp_path / START.run).iterdir()
    events = EventAccumulator(str(file.parent))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("train_loss")] == [(1, 0.75), (2, 0.5)]
    assert [(one.step, one.value) for one in events.Scalars("test/auc")] == [(2, 0.875)]
    started = hparams("session_start_info").hparams
    assert (started["run_folder"].string_value, started["trainer.epochs"].number_value) == (START.run, 2.0)
    assert hparams("session_end_info").status == 1  # STATUS_SUCCESS
    require_private(tmp_path)


def test_an_offline_run_of_wandb_holds_what_it_was_told(tmp_path: Path) -> None:
    track("dxa_tbs.tracking.wandb:open_wandb", folder=str(tmp_path), mode="offline")
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    records = list(wandb_records(file.read_bytes()))
    (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.project, run.display_name) == (START.study, START.run)
    assert config["run_folder"] == START.run
    assert config["trainer.epochs"] == 2
    lines = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert [(line["_step"], line["train_loss"]) for line in lines] == [(1, 0.75), (2, 0.5)]
    summary = {
        item.key: json.loads(item.value_json)
        for record in records
        for item in record.summary.update
        if item.key in FINAL
    }
    assert summary == FINAL
    assert [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"] == [0]
    require_private(tmp_path)


def wandb_records(content: bytes) -> Any:
    """Yield the records of a .wandb file: a log in blocks of 32 KiB, each record in one or more chunks."""
    from wandb.proto.wandb_internal_pb2 import Record

    place, data = 7, b""  # after the header of the file
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the record is whole
            yield Record.FromString(data)
            data = b""


def require_private(folder: Path) -> None:
    """Check that no file holds an absolute path, the host or the user."""
    import getpass
    import socket

    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes() + path.relative_to(folder).as_posix().encode()
            for secret in (str(folder), str(Path.home()) + "/", socket.gethostname(), str(Path.cwd())):
                assert secret.encode() not in content, (path, secret)
            assert f'"{getpass.getuser()}"'.encode() not in content


@pytest.mark.slow
@pytest.mark.parametrize("store", ["mlflow.db", "mlruns"])
def test_mlflows_own_client_reads_what_was_tracked_also_by_several_processes_at_once(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
import sys
from dxa_tbs.tracking.remote import tracked
from dxa_tbs.tracking.tracker import RunStart
start = RunStart({START.study!r}, f"run{{sys.argv[1]}}", {START.identity!r}, {dict.fromkeys(map(str, range(150)), 1)})
settings = {{"store": {str(tmp_path / "below" / store)!r}}}
with tracked("it", "dxa_tbs.tracking.mlflow:open_mlflow", start, settings) as tracker:
    for epoch in {EPOCHS!r}:
        tracker.log_epoch(epoch)
    if sys.argv[1] == "2":
        raise SystemExit
    tracker.finish({FINAL!r})
"""
    at_once = [
        subprocess.Popen([sys.executable, "-c", code, str(number)], stderr=subprocess.PIPE) for number in range(3)
    ]
    assert [process.communicate()[1] for process in at_once] == [b""] * 3
    require_private(tmp_path)

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    path = tmp_path / "below" / store
    read = f"""
import json
from mlflow.tracking import MlflowClient
client = MlflowClient({f"sqlite:///{path}" if path.suffix else path.as_uri()!r})
experiment = client.get_experiment_by_name("clinic")
runs = client.search_runs([experiment.experiment_id])
of_first = [run for run in runs if run.data.tags["run_folder"] == "run0"][0]
losses = client.get_metric_history(of_first.info.run_id, "train_loss")
print(json.dumps([
    {{run.data.tags["run_folder"]: run.info.status for run in runs}},
    [(one.step, one.value) for one in losses], of_first.data.metrics, len(of_first.data.params),
    of_first.data.tags["model"], of_first.info.user_id,
]))
"""
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", read], capture_output=True, text=True, check=True)
    states, losses, metrics, num_params, model, user = json.loads(answer.stdout.splitlines()[-1])
    assert states == {"run0": "FINISHED", "run1": "FINISHED", "run2": "FAILED"}
    assert losses == [[1, 0.75], [2, 0.5]]
    assert metrics == FINAL | {"train_loss": 0.5, "lr": 0.001}
    assert (num_params, model, user) == (150, "model3", "unknown")

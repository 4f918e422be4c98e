"""The fourteen experiments in one command: planned, killed, gone on with, failed in one and finished in the others."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import composed, defaults_of
from hydra.errors import HydraException

from dxa_tbs.config.compose import to_plain
from dxa_tbs.errors import Refusal
from dxa_tbs.report.paper import RESULTS
from dxa_tbs.reproduce import plan, show
from dxa_tbs.runs.files import CONFIG_YAML, METRICS_JSON, write_json, write_text, write_yaml
from dxa_tbs.runs.folder import mark_failed
from dxa_tbs.runs.identity import run_folder

EXPERIMENTS = [*((table.approach, model) for table in RESULTS for model in table.rows), ("adhoc", "model3")]
TINY = ["dataset.num_normal=14", "dataset.num_degraded=10", "trainer.epochs=1", "augmentation=none"]


def test_fourteen_experiments_in_the_papers_order_and_a_control_for_every_seed() -> None:
    jobs = plan(["seed=0,3", "model.input_std=[1,1,1]"])
    assert [(job.config.approach.name, job.config.model.name) for job in jobs] == EXPERIMENTS * 2
    assert [job.config.seed for job in jobs] == [0] * 15 + [3] * 15
    assert len({job.run_dir for job in jobs}) == 30
    assert jobs[0].config.trainer.epochs == 50
    assert jobs[9].config.trainer.epochs == 20
    assert jobs[13].config.trainer.batch_size == 48
    assert [job.config.labels.permuted_seed for job in jobs] == ([None] * 14 + [0]) * 2


@pytest.mark.slow
def test_a_job_is_written_where_training_alone_would_write_it() -> None:
    job = plan(["trainer.epochs=3"])[4]
    typed = ["approach=full", "model=squeezenet", "trainer.epochs=3"]
    assert job.run_dir == run_folder(to_plain(composed(*typed)), defaults=defaults_of(typed))


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("model=vgg16", "all networks and approaches of the paper are run"),
        ("approach=full", "all networks and approaches of the paper are run"),
        ("dataset.seed=1,2", "give one value: only seed and split.fold may be lists here"),
        ("seed=range(0,3)", "give numbers, such as seed=0,1,2"),
        ("evaluate=outputs/runs", "the paper's experiments are trained here"),
        ("model.wieghts=none", "Could not override"),
        ("trainer.epochs=0", r"trainer\.epochs=0: must be at least 1"),
    ],
)
def test_what_cannot_be_planned_is_refused(typed: str, answer: str) -> None:
    with pytest.raises((Refusal, HydraException), match=answer):
        plan([typed])
    with pytest.raises(Refusal, match="given twice"):
        plan(["seed=0", "seed=1"])


@pytest.mark.slow
def test_folds_are_gone_through_and_settings_of_a_kind_of_network_reach_that_kind() -> None:
    jobs = plan(["split=kfold", "split.folds=2", "split.fold=0,1", "model.weights=none", "model.dropout=0.2"])
    assert len(jobs) == 30
    assert len({job.run_dir for job in jobs}) == 30
    assert {job.config.model.weights for job in jobs} == {"none"}


@pytest.mark.slow
def test_the_plan_shows_states_and_estimates_only_from_measured_epochs(tmp_path: Path) -> None:
    jobs = plan([f"output_root={tmp_path}"])
    assert show(jobs).count("not measured yet") == 15
    for job, change in ((jobs[10], {}), (jobs[4], {"trainer": {"epochs": 1}})):
        config = to_plain(job.config)
        config["trainer"] |= change.get("trainer", {})
        run_dir = job.run_dir if not change else job.run_dir.parent / "shorter"
        run_dir.mkdir(parents=True)
        write_yaml(run_dir / CONFIG_YAML, config)
        write_text(run_dir / "history.csv", "epoch,train_s,val_s\n1,9.0,1.0\n2,10.0,2.0\n3,50.0,1.0\n")
        write_json(run_dir / "timing.json", {"prepare_s": 3.0})
        write_json(run_dir / METRICS_JSON, {})
    mark_failed(jobs[0].run_dir, to_plain(jobs[0].config), Refusal("no weights"))
    lines = show(jobs).splitlines()
    assert lines[0].startswith("failed      resnet18 full seed=0")
    assert (
        " ".join(lines[4].split()) == "to do squeezenet full seed=0 50 epochs, 10 min 3 s"
    )  # 3 s, and 50 of the median 12 s
    assert lines[10] == "finished    model1 adhoc seed=0"
    assert lines[-1] == "to do: 10 min 3 s, plus runs not yet measured: 13"
    damaged = Path(shutil.copytree(jobs[4].run_dir.parent / "shorter", tmp_path / "runs/damaged"))
    for name in ("config.yaml", "timing.json", "history.csv"):
        written = (damaged / name).read_bytes()
        for content in (b"", b"\xff\x00[{,", written[: len(written) // 2] + b"\x00"):
            (damaged / name).write_bytes(content)
            assert show(jobs).splitlines() == lines
        (damaged / name).write_bytes(written)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_killed_gone_on_with_and_a_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dxa_tbs.reproduce", "--quick", *TINY]
    environment = os.environ | {"HYDRA_FULL_ERROR": "0"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert any("2 of 15" in line for line in running.stdout)
        running.send_signal(signal.SIGKILL)
    root = tmp_path / "outputs/quick/phantom_text"
    blocked = next((root / "full/resnet18").iterdir()).name
    (root / f"adhoc/model2/{blocked}").mkdir(parents=True, exist_ok=True)
    folders = {path.name for path in (root / "full").iterdir()}
    assert "resnet18" in folders
    place = plan(["experiment=quick", *TINY, f"output_root={tmp_path / 'outputs'}"])[11].run_dir
    place.mkdir(parents=True, exist_ok=True)
    (place / "thesis.txt").write_text("precious")
    done = subprocess.run(
        [*command, "--at-once", "2"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 1
    assert "skipped, already finished: outputs/quick/phantom_text/full/resnet18" in done.stdout
    assert "holds files that are no run" in done.stderr
    assert done.stderr.count("failed: ") == 1
    assert len(list((tmp_path / "outputs").rglob("metrics.json"))) == 14
    assert (place / "thesis.txt").read_text() == "precious"
    for number in ("i", "ii", "iii", "iv", "v"):
        assert (tmp_path / f"outputs/quick/tables/table_{number}.tex").is_file()
    for name in ("figure_1", "figure_3", "figure_4", "roc_curves", "forest_f1"):
        assert (tmp_path / f"outputs/quick/figures/{name}.pdf").stat().st_size > 1000

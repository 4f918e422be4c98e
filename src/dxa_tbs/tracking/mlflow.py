"""A run in a local MLflow store."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from dxa_tbs.tracking.tracker import RunStart

NO_ARTIFACTS = "mlflow-artifacts:/"  # none are logged; the default is an absolute path, which the store would hold
os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": NO_ARTIFACTS,
}

from mlflow.entities import Metric, Param  # noqa: E402 - reads the environment
from mlflow.tracking import MlflowClient  # noqa: E402

PARAMS_AT_ONCE = 100  # MLflow's limit


def open_mlflow(start: RunStart, *, store: str) -> MlflowTracker:
    """Create a run in the experiment that is named after the study.

    Args:
        store: a SQLite file (.db), or the folder of a file store.
    """
    path = Path(store).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # two runs must not create the store or the experiment at once
        if path.suffix != ".db":
            path.mkdir(exist_ok=True)  # MLflow writes an experiment with an absolute path into a folder it creates
        client = MlflowClient(f"sqlite:///{path.as_posix()}" if path.suffix == ".db" else path.as_uri())
        found = client.get_experiment_by_name(start.study)
        experiment = found.experiment_id if found else client.create_experiment(start.study, NO_ARTIFACTS)
    tags = {"run_folder": start.run, **{name: str(value) for name, value in start.identity.items()}}
    run = client.create_run(experiment, tags=tags, run_name=start.run)
    params = [Param(name, str(value)) for name, value in start.settings.items()]
    for first in range(0, len(params), PARAMS_AT_ONCE):
        client.log_batch(run.info.run_id, params=params[first : first + PARAMS_AT_ONCE])
    return MlflowTracker(client, run.info.run_id)


class MlflowTracker:
    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id, self._last_epoch = client, run_id, 0

    def log_epoch(self, epoch: Mapping[str, float]) -> None:
        self._last_epoch = int(epoch["epoch"])
        self._log({name: value for name, value in epoch.items() if name != "epoch"})

    def finish(self, figures: Mapping[str, float]) -> None:
        self._log(figures)
        self._client.set_terminated(self._run_id, "FINISHED")

    def fail(self) -> None:
        self._client.set_terminated(self._run_id, "FAILED")

    def _log(self, figures: Mapping[str, float]) -> None:
        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, self._last_epoch) for name, value in figures.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

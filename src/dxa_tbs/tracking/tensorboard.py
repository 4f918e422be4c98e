"""A run as scalars and hyperparameters in an event file of TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from dxa_tbs.tracking.tracker import RunStart, Value

EVENTS = "events.out.tfevents"


def open_tensorboard(start: RunStart, *, folder: str) -> TensorBoardTracker:
    """Start an event file in the folder of the run below `folder`; files of an earlier attempt are removed."""
    of_run = Path(folder, start.run)
    of_run.mkdir(parents=True, exist_ok=True)
    for old in of_run.glob(f"{EVENTS}.*"):
        old.unlink()
    # TensorBoard's own writers put the name of the host into the name of the file.
    writer = RecordWriter((of_run / f"{EVENTS}.{int(time.time())}.dxa_tbs").open("wb"))
    return TensorBoardTracker(writer, start)


class TensorBoardTracker:
    def __init__(self, writer: RecordWriter, start: RunStart) -> None:
        self._writer = writer
        self._last_epoch = 0
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        session = SessionStartInfo(start_time_secs=time.time(), group_name=start.run)
        for name, value in {"run_folder": start.run, **start.identity, **start.settings}.items():
            _set(session.hparams[name], value)
        self._write_session(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=session))

    def log_epoch(self, epoch: Mapping[str, float]) -> None:
        self._last_epoch = int(epoch["epoch"])
        self._write_scalars({name: value for name, value in epoch.items() if name != "epoch"})

    def finish(self, figures: Mapping[str, float]) -> None:
        self._write_scalars(figures)
        self._end(STATUS_SUCCESS)

    def fail(self) -> None:
        self._end(STATUS_FAILURE)

    def _write_scalars(self, figures: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._write(Event(wall_time=time.time(), step=self._last_epoch, summary=Summary(value=values)))

    def _end(self, status: Any) -> None:
        session = SessionEndInfo(status=status, end_time_secs=time.time())
        self._write_session(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=session))
        self._writer.close()

    def _write_session(self, tag: str, content: HParamsPluginData) -> None:
        content.version = metadata.PLUGIN_DATA_VERSION
        data = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content.SerializeToString())
        value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=data), tensor=metadata.NULL_TENSOR)
        self._write(Event(wall_time=time.time(), summary=Summary(value=[value])))

    def _write(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())
        self._writer.flush()


def _set(field: Any, value: Value) -> None:
    """Set a protobuf value of the type that TensorBoard filters by."""
    if isinstance(value, bool):
        field.bool_value = value
    elif isinstance(value, int | float):
        field.number_value = value
    else:
        field.string_value = "" if value is None else value

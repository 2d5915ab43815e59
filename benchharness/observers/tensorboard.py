"""TensorBoard: event files in the run's folder, a subfolder for each trial and one for the end."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchharness.api import Observer, hookimpl
from benchharness.observers import requested
from benchharness.observers.figures import RunEnd, RunLog, RunStart, TrialLog

FOLDER = "tensorboard"
_REFUSED = re.compile(r"[^\w.=()-]+")
# Unix time, step, and values at that time.
Row = tuple[float, int, Iterable[Any]]


@hookimpl
def benchharness_observer() -> Observer | None:
    """Return the observer that writes files for TensorBoard; None where it is not asked for."""
    return RunLog(TensorboardTracker()) if "tensorboard" in requested() else None


class TensorboardTracker:
    """Writes ``RUN/tensorboard/TRIAL/`` and ``RUN/tensorboard/summary/``.

    Only messages and records of the package are used: its writer of event files imports TensorFlow
    where that is installed.
    """

    def __init__(self) -> None:
        from tensorboard.compat.proto import event_pb2, types_pb2
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._types, self._writer = event_pb2.Event, types_pb2, RecordWriter
        self._hparams, self._hparams_data = metadata, plugin_data_pb2.HParamsPluginData
        self._status = {True: api_pb2.STATUS_SUCCESS, False: api_pb2.STATUS_FAILURE}
        self._folder = Path()

    def start(self, run: RunStart) -> None:
        """Begin a run, whose folder is not made yet."""
        self._folder = run.folder / FOLDER

    def log_trial(self, trial: TrialLog) -> None:
        """Write a subfolder; that of an earlier attempt at the trial is replaced."""
        folder = self._folder / _REFUSED.sub("_", trial.name)
        shutil.rmtree(folder, ignore_errors=True)
        rows: list[Row] = [(trial.started_s, 0, [self._session_start(trial)])]
        for epoch, time_s, figures in trial.epochs:
            rows.append((time_s, epoch, self._scalars(figures)))
        rows += [
            (trial.ended_s, 0, self._scalars(trial.figures)),
            (trial.ended_s, 0, self._texts(trial.notes)),
            (trial.ended_s, 0, [self._session_end(trial)]),
        ]
        self._write(folder, rows)

    def finish(self, end: RunEnd) -> None:
        """Write the subfolder of the end, if the run's folder has been made."""
        if end.files:
            texts = self._texts({"answers": end.text, "exit_code": str(end.exit_code)})
            rows = [(end.time_s, 0, self._scalars(end.figures)), (end.time_s, 0, texts)]
            self._write(self._folder / "summary", rows)

    def _scalars(self, figures: Mapping[str, float]) -> Iterator[Any]:
        for name, value in figures.items():
            yield {"tag": name, "simple_value": value}

    def _texts(self, notes: Mapping[str, str]) -> Iterator[Any]:
        for name, text in notes.items():
            yield {
                "tag": name,
                "metadata": {"plugin_data": {"plugin_name": "text"}},
                "tensor": {
                    "dtype": self._types.DT_STRING,
                    "tensor_shape": {"dim": [{"size": 1}]},
                    "string_val": [text.encode()],
                },
            }

    def _session_start(self, trial: TrialLog) -> Any:
        """Return the parameters, for the table of the HParams plugin."""
        data = self._hparams_data()
        data.session_start_info.start_time_secs = trial.started_s
        for name, value in trial.parameters.items():
            parameter = data.session_start_info.hparams[name]
            if isinstance(value, bool):
                parameter.bool_value = value
            elif isinstance(value, str):
                parameter.string_value = value
            else:
                parameter.number_value = value
        return self._session(self._hparams.SESSION_START_INFO_TAG, data)

    def _session_end(self, trial: TrialLog) -> Any:
        data = self._hparams_data()
        data.session_end_info.end_time_secs = trial.ended_s
        data.session_end_info.status = self._status[trial.state == "finished"]
        return self._session(self._hparams.SESSION_END_INFO_TAG, data)

    def _session(self, tag: str, data: Any) -> Any:
        metadata = self._hparams.create_summary_metadata(data)
        return {"tag": tag, "metadata": metadata, "tensor": self._hparams.NULL_TENSOR}

    def _write(self, folder: Path, rows: Iterable[Row]) -> None:
        events = [
            self._event(wall_time=time_s, step=step, summary={"value": [*values]})
            for time_s, step, values in rows
        ]
        began_s = events[0].wall_time
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"events.out.tfevents.{began_s:.3f}").open("wb") as file:
            writer = self._writer(file)
            for event in [self._event(wall_time=began_s, file_version="brain.Event:2"), *events]:
                writer.write(event.SerializeToString())

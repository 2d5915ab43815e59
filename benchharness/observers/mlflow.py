"""MLflow: a run with the answers and the files, and in it a run for each trial."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping

from benchharness.api import Observer, hookimpl
from benchharness.observers import requested
from benchharness.observers.figures import Parameter, RunEnd, RunLog, RunStart, State, TrialLog

_STATUS: Mapping[State, str] = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
# What MLflow accepts in a name, and of a text.
_REFUSED = re.compile(r"[^\w./: -]")
_NAME_LENGTH, _TEXT_LENGTH = 250, 5000
_FOLDER_TAG = "benchharness.run"


@hookimpl
def benchharness_observer() -> Observer | None:
    """Return the observer that logs to MLflow; None where it is not asked for."""
    return RunLog(MlflowTracker()) if "mlflow" in requested() else None


class MlflowTracker:
    """Writes to the server, or the database in a file, that ``MLFLOW_TRACKING_URI`` names."""

    def __init__(self) -> None:
        import mlflow
        import mlflow.entities

        # It says when it makes its database, in the midst of our progress.
        logging.getLogger("mlflow").setLevel(os.environ.get("MLFLOW_LOGGING_LEVEL", "WARNING"))
        self._entities = mlflow.entities
        self._client = mlflow.MlflowClient()
        self._experiment = self._run = ""

    def start(self, run: RunStart) -> None:
        """Begin a run, or continue the one of the same folder."""
        self._experiment = self._experiment_id(default=run.suite)
        runs = self._client.search_runs([self._experiment], f"tags.`{_FOLDER_TAG}` = '{run.name}'")
        if runs:
            self._run = runs[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._create(run.name, run.time_s, tags={_FOLDER_TAG: run.name})
        self._log_parameters(self._run, run.parameters)

    def log_trial(self, trial: TrialLog) -> None:
        """Write a run within the run."""
        tags = {"mlflow.parentRunId": self._run, **trial.notes}
        run_id = self._create(trial.name, trial.started_s, tags=tags)
        try:
            self._log_parameters(run_id, trial.parameters)
            for epoch, time_s, figures in [*trial.epochs, (0, trial.ended_s, trial.figures)]:
                self._log_figures(run_id, figures, time_s, step=epoch)
            self._terminate(run_id, trial.state or "killed", trial.ended_s)
        except (KeyboardInterrupt, SystemExit):
            # The end of the run writes the trial again.
            self._client.delete_run(run_id)
            raise

    def finish(self, end: RunEnd) -> None:
        """Write figures, answers and files, and end the run."""
        self._log_figures(self._run, end.figures, end.time_s)
        self._client.set_tag(self._run, "mlflow.note.content", end.text[:_TEXT_LENGTH])
        self._client.set_tag(self._run, "exit_code", end.exit_code)
        for path in end.files:
            self._client.log_artifact(self._run, str(path))
        self._terminate(self._run, end.state, end.time_s)

    def _experiment_id(self, *, default: str) -> str:
        if stated := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return stated
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or default
        experiment = self._client.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else self._client.create_experiment(name))

    def _create(self, name: str, time_s: float, *, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(
            self._experiment,
            start_time=_ms(time_s),
            tags={_name(key): text[:_TEXT_LENGTH] for key, text in tags.items()},
            run_name=name,
        )
        return str(run.info.run_id)

    def _log_parameters(self, run_id: str, parameters: Mapping[str, Parameter]) -> None:
        params = [
            self._entities.Param(_name(name), str(value)[:_TEXT_LENGTH])
            for name, value in parameters.items()
        ]
        self._client.log_batch(run_id, params=params)

    def _log_figures(
        self, run_id: str, figures: Mapping[str, float], time_s: float, *, step: int = 0
    ) -> None:
        metrics = [
            self._entities.Metric(_name(name), value, _ms(time_s), step)
            for name, value in figures.items()
        ]
        self._client.log_batch(run_id, metrics=metrics)

    def _terminate(self, run_id: str, state: State, time_s: float) -> None:
        self._client.set_terminated(run_id, _STATUS[state], end_time=_ms(time_s))


def _name(text: str) -> str:
    """Return a name with what MLflow refuses replaced."""
    return _REFUSED.sub("_", text)[:_NAME_LENGTH]


def _ms(time_s: float) -> int:
    return round(time_s * 1000)

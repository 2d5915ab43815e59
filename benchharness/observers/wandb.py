"""Weights & Biases: a group for each run, in it a run for each trial and one for the answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from benchharness.api import Observer, PluginError, hookimpl
from benchharness.observers import requested
from benchharness.observers.figures import RunEnd, RunLog, RunStart, State, TrialLog

# 255 is what the package itself reports after Ctrl-C.
_EXIT_CODES: Mapping[State, int] = {"finished": 0, "failed": 1, "killed": 255}


@hookimpl
def benchharness_observer() -> Observer | None:
    """Return the observer that logs to Weights & Biases; None where it is not asked for."""
    return RunLog(WandbTracker()) if "wandb" in requested() else None


class WandbTracker:
    """Writes to the server, or with ``WANDB_MODE=offline`` to the folder ``WANDB_DIR``.

    A run of the package is opened when a trial has ended, and closed at once: nothing is uploaded
    while the next is timed.
    """

    def __init__(self) -> None:
        import wandb

        self._wandb = wandb
        # It prints nothing, captures nothing that we print and watches no machine.
        self._settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        self._run: RunStart | None = None

    def start(self, run: RunStart) -> None:
        """Begin a group; raise a PluginError without a key, which the package would ask for."""
        self._run = run
        settings = self._wandb.setup(self._settings).settings
        if settings.mode in ("online", "shared") and not self._wandb.login(prompt=False):
            raise PluginError(
                "expected a W&B API key, found none; use `wandb login`, set WANDB_API_KEY, "
                "or set WANDB_MODE=offline"
            )

    def log_trial(self, trial: TrialLog) -> None:
        """Write a run of the group."""
        run = self._open(trial.name, job_type="trial", config=trial.parameters)
        code = _EXIT_CODES["killed"]
        try:
            for epoch, time_s, figures in trial.epochs:
                run.log({**figures, "_timestamp": time_s}, step=epoch)
            run.summary.update({**trial.figures, **trial.notes})
            code = _EXIT_CODES[trial.state or "killed"]
        finally:
            run.finish(exit_code=code)

    def finish(self, end: RunEnd) -> None:
        """Write a run with the summary, and the files as its artifact."""
        assert self._run is not None
        run = self._open(self._run.name, job_type="summary", config=self._run.parameters)
        run.summary.update({**end.figures, "answers": end.text, "exit_code": end.exit_code})
        if end.files:
            artifact = self._wandb.Artifact(f"benchharness-{self._run.name}", type="benchmark")
            for path in end.files:
                artifact.add_file(str(path))
            run.log_artifact(artifact)
        run.finish(exit_code=_EXIT_CODES[end.state])

    def _open(self, name: str, *, job_type: str, config: Mapping[str, Any]) -> Any:
        assert self._run is not None
        return self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or self._run.suite,
            group=self._run.name,
            name=name,
            job_type=job_type,
            config=dict(config),
            # A program that calls us, such as pytest, may have a run open.
            reinit="create_new",
            settings=self._settings,
        )

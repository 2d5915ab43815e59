"""The event with which everything begins: what will run, and how long that took the last time."""

from __future__ import annotations

from pathlib import Path

from benchharness.results.store import RunFolder
from benchharness.run.earlier import previous_durations
from benchharness.run.events import PlannedCell, RunStarted
from benchharness.suite.plan import Plan


def opening(
    plan: Plan, *, command: str, device: str, folder: RunFolder | None, results: Path, trials: int
) -> RunStarted:
    """Return the event.

    Args:
        plan: What will run.
        command: What the user has called.
        device: Its name.
        folder: Where the run is, or will be; None where nothing is recorded.
        results: Where earlier runs are.
        trials: How many will run, before the first look.
    """
    expected_s = previous_durations(results, plan, device=device)
    return RunStarted(
        command=command,
        suite=plan.suite.name,
        profile=plan.profile,
        device=device,
        folder=str(folder.path) if folder else None,
        trials=trials if folder else 0,
        cells=tuple(
            PlannedCell(
                benchmark=cell.benchmark,
                matrix=cell.matrix,
                backend=cell.backend,
                track=cell.track,
                trials=cell.trials,
                max_trials=cell.max_trials,
                epochs=cell.settings.epochs,
                expected_s=expected_s.get(place),
            )
            for place, cell in enumerate(plan.cells)
        ),
    )

"""How a run goes on, as plain lines on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import click

from benchharness.results.record import Record
from benchharness.suite.plan import Trial

_EVERY_S = 5.0


def announce(lines: Iterable[str]) -> None:
    """Print what was decided for the user, apart from the results."""
    for line in lines:
        click.echo(line, err=True)


class Lines:
    """Prints a line when a trial begins, at most every five seconds while it runs, and at its end.

    Observes a run as ``benchharness.run.runner.Observer`` describes.
    """

    def __init__(self) -> None:
        self._said_s = time.monotonic()

    def prepared(self, done: int, count: int) -> None:
        """Say how far drawing or decoding has come."""
        if done == count or self._is_time():
            click.echo(f"preparing images: {done} of {count}", err=True)

    def started(self, trial: Trial, *, number: int, count: int) -> None:
        """Say that a trial begins."""
        self._said_s = time.monotonic()
        cell = trial.cell
        point = "".join(f" {key}={value}" for key, value in cell.matrix.items())
        turn = f" trial {trial.index}" if cell.trials > 1 else ""
        click.echo(f"[{number}/{count}] {cell.benchmark}{point} on {cell.backend}{turn}", err=True)

    def progressed(self, trial: Trial, event: Mapping[str, Any]) -> None:
        """Say what an epoch gave."""
        if event["event"] != "epoch" or not self._is_time():
            return
        validation = event["validation_top1"]
        scored = f", validation top-1 {validation:.3f}" if validation is not None else ""
        click.echo(
            f"        epoch {event['epoch']}: {event['train_s']:.1f} s, "
            f"loss {event['train_loss']:.4f}{scored}",
            err=True,
        )

    def finished(self, trial: Trial, record: Record) -> None:
        """Say how a trial ended."""
        metrics = record["metrics"]
        wall_s = metrics.get("wall_s")
        took = f" in {wall_s:.1f} s" if wall_s is not None else ""
        top1 = metrics.get("test_top1")
        scored = f", test top-1 {top1:.3f}" if top1 is not None else ""
        reason = f": {record['reason']}" if record["reason"] else ""
        click.echo(f"        {record['status']}{took}{scored}{reason}", err=True)

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._said_s < _EVERY_S:
            return False
        self._said_s = now
        return True

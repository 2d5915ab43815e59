"""Options of a run, as the user gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of ``benchharness run``, under the same names.

    Attributes:
        trials: Of each cell; ``auto`` for as many as needed; None for the suite's number.
        max_trials: Most trials of a cell where the number is ``auto``.
        max_minutes: Of timing, after which no cell gets more than its first trials.
        timeout_s: Longest a worker may report no progress.
        retries: How often a trial is repeated whose process crashed or hung.
        fail_fast: Whether the first failed trial ends the run.
        resume: Run to resume; an empty path for the suite's latest, None for a new run.
        only_failed: Whether to repeat its failed trials rather than run the missing ones.
        share_device: Whether other runs may use the GPU.
        cluster: Where its trials run; None for this machine.
        share_host: Whether several trials of a cluster may run on a host at a time.
    """

    suite: Path
    profile: str | None = None
    backends: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    trials: int | Literal["auto"] | None = None
    max_trials: int | None = None
    max_minutes: float | None = None
    data: Path | None = None
    device: str = "auto"
    results: Path = Path("results")
    timeout_s: float | None = None
    tracks: tuple[str, ...] = ()
    proof: Literal["no", "yes", "required"] = "yes"
    offline: bool = False
    retries: int = 0
    fail_fast: bool = False
    resume: Path | None = None
    only_failed: bool = False
    share_device: bool = False
    cluster: str | None = None
    share_host: bool = False

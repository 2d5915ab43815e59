"""Time left of a run, by a clock that is moved by hand."""

from __future__ import annotations

import pytest

from benchharness.progress.state import Estimate, RunState
from benchharness.run.events import (
    EpochEnded,
    Looked,
    PhaseEntered,
    RunStarted,
    ScheduledCell,
    TrialFinished,
    TrialName,
    TrialProgress,
    TrialStarted,
)

STARTUP_S, EPOCH_S, EPOCHS = 5.0, 10.0, 4


class FakeRun:
    """Tells an estimator of a run whose seconds pass only when told."""

    def __init__(
        self,
        *,
        expected_s: float | None = None,
        trials: int = 2,
        max_trials: int | None = None,
    ) -> None:
        self.now_s = 1000.0
        self.number = 0
        self.remaining = RunState(now=lambda: self.now_s)
        cells = [
            ScheduledCell(
                benchmark=benchmark,
                matrix={"batch_size": 8},
                backend=backend,
                track="equal",
                trials=trials,
                max_trials=max_trials,
                epochs=EPOCHS,
                expected_s=expected_s,
            )
            for benchmark in ("small", "large")
            for backend in ("one", "other")
        ]
        self.remaining.take(
            RunStarted(
                command="run",
                suite="fake",
                profile=None,
                device="a clock",
                folder="somewhere",
                trials=4 * trials,
                cells=tuple(cells),
            )
        )

    def start(self, benchmark: str = "small", backend: str = "one") -> TrialName:
        """Begin the next trial and return its name."""
        self.number += 1
        name = TrialName(
            trial_id=f"id{self.number}",
            number=self.number,
            benchmark=benchmark,
            matrix={"batch_size": 8},
            backend=backend,
            track="equal",
            trial=1,
        )
        self.remaining.take(
            TrialStarted(name=name, count=8, trials=2, seed=0, epochs=EPOCHS, images=100)
        )
        return name

    def enter(self, name: TrialName, phase: str, *, after_s: float) -> None:
        """Let seconds pass, and a trial enter a phase."""
        self.now_s += after_s
        self.remaining.take(PhaseEntered(name=name, phase=phase))

    def end_epoch(self, name: TrialName, epoch: int, *, after_s: float = EPOCH_S) -> None:
        """Let seconds pass, and an epoch end."""
        self.now_s += after_s
        self.remaining.take(
            EpochEnded(
                name=name, epoch=epoch, epochs=EPOCHS, train_s=after_s, images_per_s=100 / after_s
            )
        )

    def advance(
        self, name: TrialName, share: float, *, after_s: float, epoch: int | None = None
    ) -> None:
        """Let seconds pass, and a share of an epoch, or of the extraction, be done."""
        self.now_s += after_s
        self.remaining.take(
            TrialProgress(
                name=name,
                phase="train" if epoch else "extract",
                epoch=epoch,
                done=round(100 * share),
                images=100,
                seconds=after_s,
            )
        )

    def finish(self, name: TrialName, *, after_s: float = 0.0) -> None:
        """Let seconds pass, and a trial end."""
        self.now_s += after_s
        self.remaining.take(
            TrialFinished(name=name, status="ok", reason="", proof="", flags=(), metrics={}, log="")
        )

    def carry_out(self, benchmark: str = "small", backend: str = "one") -> None:
        """Let a whole trial pass: 45 s, and 3 s from its last epoch to its end."""
        name = self.start(benchmark, backend)
        self.enter(name, "train", after_s=STARTUP_S)
        for epoch in range(1, EPOCHS + 1):
            self.end_epoch(name, epoch)
        self.finish(name, after_s=3.0)


def test_nothing_is_claimed_before_anything_is_known():
    """The first trial of a first run gives no hint until it trains."""
    run = FakeRun()
    before = run.remaining.left()
    name = run.start()

    assert before is None
    assert run.remaining.left_of_trial(name) is None
    assert run.remaining.left() is None


def test_a_training_is_judged_by_its_own_epochs():
    """A quarter of an epoch in 2.5 s: 37.5 s are left of four; fewer as time passes."""
    run = FakeRun()
    name = run.start()
    run.enter(name, "train", after_s=STARTUP_S)
    run.advance(name, 0.25, after_s=2.5, epoch=1)
    amid = run.remaining.left_of_trial(name)
    run.end_epoch(name, 1, after_s=7.5)
    at_once = run.remaining.left_of_trial(name)
    run.now_s += 4

    assert (amid, at_once) == (Estimate(37.5), Estimate(30.0))
    assert run.remaining.left_of_trial(name) == Estimate(26.0)


def test_an_extraction_says_nothing_of_the_training_that_follows():
    """Only epochs do, or a trial of the same cell."""
    run = FakeRun()
    name = run.start()
    run.enter(name, "extract", after_s=STARTUP_S)
    run.advance(name, 0.2, after_s=6.0)

    assert run.remaining.left_of_trial(name) is None


def test_what_was_seen_is_expected_of_the_same_cell_and_of_other_backends():
    """A trial of 48 s, three more like it; the large is unknown until one of its trials is done."""
    run = FakeRun()
    run.carry_out("small")
    some = run.remaining.left()
    run.carry_out("large")
    every = run.remaining.left()
    name = run.start()

    assert some == Estimate(3 * 48.0, is_lower_bound=True)
    assert every == Estimate(6 * 48.0)
    assert run.remaining.left_of_trial(name) == Estimate(48.0)
    # A compilation that takes ten times as long as the last one.
    run.enter(name, "compile", after_s=STARTUP_S)
    run.now_s += 480
    assert run.remaining.left_of_trial(name) == Estimate(0.0)
    assert run.remaining.left() == Estimate(5 * 48.0)


def test_an_earlier_run_is_a_first_guess():
    """Before the first trial, what prepares the run comes on top of its eight."""
    run = FakeRun(expected_s=60.0)
    before = run.remaining.left()
    name = run.start()

    assert before == Estimate(8 * 60.0, is_lower_bound=True)
    assert run.remaining.left_of_trial(name) == Estimate(60.0)
    assert run.remaining.left() == Estimate(8 * 60.0)


@pytest.mark.parametrize("expected_s", [20.0, 400.0])
def test_a_wrong_first_guess_gives_way_to_what_is_seen(expected_s: float):
    """After three epochs of four, the guess of an earlier run hardly counts."""
    run = FakeRun(expected_s=expected_s)
    name = run.start()
    run.enter(name, "train", after_s=STARTUP_S)
    for step in range(1, 31):
        run.advance(name, step % 10 / 10 or 1.0, after_s=1.0, epoch=(step - 1) // 10 + 1)

    assert run.remaining.left_of_trial(name).seconds == pytest.approx(10.0, abs=1.0)


@pytest.mark.parametrize("max_trials", [None, 10])
def test_a_round_that_a_look_asks_for_is_still_to_come(max_trials: int | None):
    """Two of four cells get another trial of 48 s; before the last look there may be more."""
    run = FakeRun(trials=1, max_trials=max_trials)
    for benchmark in ("small", "large"):
        for backend in ("one", "other"):
            run.carry_out(benchmark, backend)
    over = run.remaining.left()
    common = {"matrix": {"batch_size": 8}, "track": "equal", "backends": ["one", "other"]}
    stops = {"small": None, "large": "decided"}
    lines = ({"benchmark": name, "stop": stop} | common for name, stop in stops.items())
    run.remaining.take(Looked(trials=2, lines=tuple(lines)))

    assert over == Estimate(0.0, is_lower_bound=max_trials is not None)
    assert run.remaining.left().seconds == 2 * 48.0
    run.carry_out("small", "other")
    assert run.remaining.left().seconds == 48.0


def test_two_trials_in_flight_are_told_apart():
    """Each is judged by its own epochs; the suite waits for both."""
    run = FakeRun(trials=1)
    slow, fast = run.start(), run.start(backend="other")
    run.enter(slow, "train", after_s=STARTUP_S)
    run.enter(fast, "train", after_s=0.0)
    run.end_epoch(fast, 1, after_s=2.0)
    run.end_epoch(slow, 1, after_s=8.0)

    assert run.remaining.left_of_trial(slow) == Estimate(30.0)
    assert run.remaining.left_of_trial(fast) == Estimate(0.0)


def test_two_trials_that_take_turns_end_together_and_share_the_time():
    """Epochs of 10 s in turn: 60 s are left for both, and a later pair takes as long as this."""
    run = FakeRun()
    ours, theirs = run.start(), run.start(backend="other")
    for name in (ours, theirs):
        run.enter(name, "train", after_s=0.0)
    for epoch, name in [(1, ours), (1, theirs), (2, theirs), (2, ours)]:
        run.end_epoch(name, epoch)
    amid = run.remaining.left()
    for epoch in (3, 4):
        run.end_epoch(ours, epoch)
        run.end_epoch(theirs, epoch)
    run.finish(ours)
    run.finish(theirs)

    assert amid is not None
    assert amid.seconds == pytest.approx(40.0 + 80.0, rel=0.3)
    assert run.remaining.left() is not None
    assert run.remaining.left().seconds == pytest.approx(80.0)

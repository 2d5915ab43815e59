"""Progress on screens, in logs and for programs, by a clock that is moved by hand."""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import os
import re
import sys
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import progress_events as happened
import pytest
from rich.cells import cell_len
from rich.console import Console

from benchharness.errors import DatasetError, Problem, SuiteError
from benchharness.progress import reporter
from benchharness.progress.json_reporter import json_reporter
from benchharness.progress.live import LiveReporter
from benchharness.progress.plain import BrokenPipeSafeStream, PlainReporter
from benchharness.run.events import ORDER, Event, PhaseEntered, TrialName

ROOT = Path(__file__).parent.parent
WIDTHS = (60, 80, 140)


class FakeClock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def drawn(width: int, *events: Event, each_s: float = 2.0) -> list[str]:
    """Return the bars after some events, so many seconds after each other."""
    clock, console = FakeClock(), Console(file=io.StringIO(), width=width)
    observe = LiveReporter(io.StringIO(), now=clock, console=console)
    for event in events:
        clock.now_s += each_s
        observe(event)
    screen = Console(file=io.StringIO(), width=width)
    screen.print(observe.bars())
    return [line.rstrip() for line in screen.file.getvalue().splitlines() if line.strip()]


def said(*events: Event, each_s: float = 0.0) -> list[str]:
    """Return the lines that a log gets."""
    clock, stream = FakeClock(), io.StringIO()
    observe = PlainReporter(stream, now=clock)
    for event in events:
        clock.now_s += each_s
        observe(event)
    return stream.getvalue().splitlines()


def printed(*events: Event, each_s: float = 1.0) -> list[dict]:
    """Return the objects that a program gets."""
    clock, stream = FakeClock(), io.StringIO()
    today = datetime(2026, 11, 24, 12, tzinfo=UTC)
    with json_reporter(stream, now=clock, today=lambda: today) as observe:
        for event in events:
            clock.now_s += each_s
            observe(event)
    return list(map(json.loads, stream.getvalue().splitlines()))


def test_a_wide_terminal_shows_everything_of_a_trial():
    """Benchmark, bar, backend, trial, phase, epoch, throughput, loss, accuracy, what is left."""
    trial, suite = drawn(140, *happened.WHOLE_RUN[:-2])

    assert trial.startswith("bottleneck_published batch_size=32 ")
    assert trial.endswith(
        "keras  1/2  train 2/10 50%  1,200 images/s  loss 0.6931  val 0.512 0:23 left"
    )
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in trial
    assert suite.split()[0] == "[1/2]"
    assert suite.endswith("0:24 elapsed" + suite.partition("0:24 elapsed")[2])
    assert suite.endswith("left")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", range(1, len(happened.WHOLE_RUN)))
def test_no_line_is_wider_than_the_terminal(width: int, count: int):
    """Nor does a task take two lines."""
    lines = drawn(width, *happened.WHOLE_RUN[:count])

    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) <= 2


@pytest.mark.parametrize(
    ("width", "wanted"),
    [
        (60, "keras  train 2/10 50%  1,200/s 0:23 left"),
        (80, "keras  train 2/10 50%  1,200/s  val 0.512 0:23 left"),
    ],
)
def test_a_narrow_terminal_keeps_what_matters_most(width: int, wanted: str):
    """The name is cut short and says so; loss and trial number go first."""
    name = drawn(width, *happened.WHOLE_RUN[:-2])[0].removesuffix(wanted).rstrip()

    assert name.startswith("bottleneck") and len(name) < width - len(wanted)


@pytest.mark.parametrize("width", WIDTHS)
def test_long_details_leave_the_names(width: int):
    """A long backend's name is cut short: benchmark and number of the trial stay."""
    name = replace(happened.NAME, backend="keras-on-an-engine-of-ours-" + "x" * 90)
    events = [replace(event, name=name) for event in (happened.TRIAL_STARTED, happened.EPOCH)]

    trial, suite = drawn(width, happened.STARTED, *events)

    assert trial.startswith("bottleneck"[:9])
    assert suite.startswith("[1/2]")


def test_wide_characters_count_as_the_terminal_shows_them():
    """A benchmark named in Chinese takes two cells a character."""
    name = replace(happened.NAME, benchmark="猫と犬の写真の分類の長い名前の実験の話")
    started = replace(happened.TRIAL_STARTED, name=name)

    (line, _) = drawn(60, started, PhaseEntered(name=name, phase="train"))

    assert cell_len(line) <= 60
    assert "keras" in line


@pytest.mark.parametrize(
    ("event", "name", "amount"),
    [
        (happened.PREPARING, "preparing images", "500 of 2,000"),
        (happened.DOWNLOADING, "downloading vgg16.safetensors", "14.7 of 58.9 MB"),
        (
            happened.PROBING,
            "proving equal work: keras, bottleneck_published batch_size=32",
            "1 of 9",
        ),
    ],
)
def test_what_comes_before_the_trials_has_a_line_of_its_own(event: Event, name: str, amount: str):
    """Images in numbers, downloads in bytes, the proof by backend and cell."""
    (line,) = drawn(140, event)

    assert line.startswith(name) and line.endswith(amount)


def test_a_download_of_unknown_size_is_shown_as_far_as_it_is_known():
    """A server need not tell how much will come."""
    unknown = replace(happened.DOWNLOADING, what=None, count_bytes=None)
    nothing = replace(unknown, done_bytes=None)

    assert drawn(80, unknown) == ["downloading a file 14.7 MB"]
    assert drawn(80, nothing) == ["downloading a file"]


def test_a_finished_task_leaves_the_picture():
    """All images are prepared: nothing more to show of it."""
    assert drawn(80, happened.PREPARING, happened.PREPARED) == []


def test_clocks_tick_without_an_event():
    """A trial that is silent for an hour has taken an hour longer."""
    clock, console = FakeClock(), Console(file=io.StringIO(), width=80)
    observe = LiveReporter(io.StringIO(), now=clock, console=console)
    observe(happened.TRIAL_STARTED)
    clock.now_s += 3600
    screen = Console(file=io.StringIO(), width=80)

    screen.print(observe.bars())

    assert "1:00:00 elapsed" in screen.file.getvalue()


def test_a_live_run_leaves_a_plain_line_for_each_trial():
    """Status, seconds, throughput and test accuracy stay on the screen, announcements too."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with LiveReporter(io.StringIO(), console=console) as observe:
        for event in happened.WHOLE_RUN:
            observe(event)

    output = console.file.getvalue()
    assert "data: 2,000 photographs\n" in output
    assert (
        "[1/2] bottleneck_published batch_size=32 on keras: "
        "ok in 21.0 s, 1,234 images/s, test top-1 0.912\n"
    ) in output
    assert output.index("\x1b[?25l") < output.rindex("\x1b[?25h")


def test_an_error_gives_the_cursor_back():
    """Whatever ends the run, the terminal is left as it was."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with pytest.raises(DatasetError), LiveReporter(io.StringIO(), console=console) as observe:
        observe(happened.TRIAL_STARTED)
        raise DatasetError("no images")

    output = console.file.getvalue()
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")


def test_a_log_gets_a_line_at_the_beginning_and_one_at_the_end():
    """Short trials leave two lines, however many epochs they have."""
    lines = said(*happened.WHOLE_RUN[-6:])

    assert lines == [
        "[1/2] bottleneck_published batch_size=32 on keras, trial 1 of 2",
        "        ok in 21.0 s, 1,234 images/s, test top-1 0.912",
    ]


def test_a_log_hears_of_a_long_trial_now_and_then():
    """Every ten seconds at most: phase, epoch, throughput, loss, accuracy, what is left."""
    lines = said(happened.TRIAL_STARTED, happened.TRAINING, happened.EPOCH, each_s=6.0)

    assert lines[1:] == [
        "        train 2/10, 1,234 images/s, loss 0.6931, validation top-1 0.512, "
        "0:54 left, 0:54 left for the suite"
    ]


def test_a_head_alone_trains_on_features():
    """While it goes on, and when it has ended; what is extracted are images still."""
    started = replace(happened.TRIAL_STARTED, trains_on="features")
    extracting = replace(happened.ADVANCED, phase="extract", epoch=None)
    metrics = {"wall_s": 21.0, "train_images_per_s": 1234.0, "extract_s": 2.0}
    ended = replace(happened.TRIAL_FINISHED, metrics=metrics)
    phases = [PhaseEntered(name=happened.NAME, phase=phase) for phase in ("extract", "train")]

    lines = said(started, phases[0], extracting, phases[1], happened.ADVANCED, ended, each_s=11.0)

    assert [re.findall(r"\w+/s\b", line) for line in lines if "/s" in line] == [
        ["images/s"], ["features/s"], ["features/s"]
    ]  # fmt: skip


def test_a_log_says_what_failed_and_why():
    """The reason stands beside the status."""
    assert said(happened.TRIAL_STARTED, happened.FAILED)[-1] == (
        "        oom: MemoryError: unable to allocate 11 GB"
    )


def test_numbers_that_look_wrong_are_marked_as_in_the_table():
    """The table says what is wrong with them."""
    flagged = replace(happened.TRIAL_FINISHED, flags=("stuck_at_chance",))

    assert said(happened.TRIAL_STARTED, flagged)[-1].endswith("test top-1 0.912!")


def test_a_log_tells_of_warnings_proofs_and_downloads():
    """What was decided, what is not proven, what is fetched."""
    lines = said(*happened.WHOLE_RUN[:8], each_s=11.0)

    assert lines == [
        "data: 2,000 photographs",
        "WARNING: another process uses the GPU",
        "downloading vgg16.safetensors: 14.7 of 58.9 MB",
        "preparing images: 500 of 2,000",
        "preparing images: 2,000 of 2,000",
        "proving equal work: keras, 3 cells",
        "equal work NOT proven: bottleneck_published batch_size=32, keras and torch: "
        "partial: optimizer (0.5 of 0.0001)",
        "equal work proven for 0 of 1 pairs",
    ]


def test_every_event_says_what_when_and_of_which_run():
    """Kind, UTC and the run's name stand first; a trial's events carry its names."""
    objects = printed(*happened.WHOLE_RUN)

    assert [one["event"] for one in objects] == [event.kind for event in happened.WHOLE_RUN]
    assert {one["time"] for one in objects} == {"2026-11-24T12:00:00.000+00:00"}
    assert {one["run"] for one in objects} == {"2026-11-24T120000Z-abcd"}
    assert all(list(one)[:3] == ["event", "time", "run"] for one in objects)
    names = {field.name for field in fields(TrialName)}
    assert all(names < set(one) for one in objects if "trial_id" in one)


def test_events_of_a_trial_in_flight_tell_what_is_left():
    """9 epochs of 1 s; of the second trial of the cell as much, its start-up included."""
    objects = printed(*happened.WHOLE_RUN[-6:])
    epoch = next(one for one in objects if one["event"] == "epoch")

    assert epoch["remaining_s"] == pytest.approx(9.0)
    assert epoch["suite_remaining_s"] == pytest.approx(9.0)
    assert epoch["suite_is_at_least"] is False
    assert objects[0]["remaining_s"] is None
    assert objects[0]["suite_is_at_least"] is True


def test_numbers_that_are_none_are_null():
    """JSON has no word for a loss that is no number."""
    (told,) = printed(replace(happened.EPOCH, train_loss=float("nan")))

    assert told["train_loss"] is None


def test_a_program_is_not_flooded():
    """A thousand decoded images within a second are two events, the last one among them."""
    events = [replace(happened.PREPARING, done=done, count=1000) for done in range(1, 1001)]

    assert [one["done"] for one in printed(*events, each_s=0.0005)] == [1, 1000]


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (DatasetError("no images"), 1, ["no images"]),
        (
            SuiteError("x.toml", [Problem(where="epochs", expected="1", found="0")]),
            2,
            ["x.toml: epochs: expected 1, found 0"],
        ),
        (KeyboardInterrupt(), 130, ["interrupted; finished trials have been saved"]),
        (ZeroDivisionError("our bug"), 1, ["ZeroDivisionError: our bug"]),
    ],
)
def test_the_last_event_is_the_end_whatever_ended_the_run(error, code: int, told: list[str]):
    """A program that waits for the end never waits in vain."""
    stream = io.StringIO()
    with pytest.raises(type(error)), json_reporter(stream) as observe:
        observe(happened.STARTED)
        raise error

    last = json.loads(stream.getvalue().splitlines()[-1])
    assert (last["event"], last["exit_code"], last["errors"]) == ("run_finished", code, told)


def test_the_end_of_an_interrupted_run_names_its_folder(tmp_path: Path):
    """Once it is made: what has finished is there."""
    for folder, told in ((tmp_path, str(tmp_path)), (tmp_path / "not_made", None)):
        stream = io.StringIO()
        with pytest.raises(KeyboardInterrupt), json_reporter(stream) as observe:
            observe(replace(happened.STARTED, folder=str(folder)))
            raise KeyboardInterrupt

        assert json.loads(stream.getvalue().splitlines()[-1])["folder"] == told


def test_an_end_is_told_once():
    """An error after the end, while the page is closed, is no second end."""
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), json_reporter(stream) as observe:
        observe(happened.FINISHED)
        raise ZeroDivisionError

    assert stream.getvalue().count("run_finished") == 1


def test_every_field_of_every_event_is_documented():
    """The table in the documentation is made from these docstrings."""
    for kind in (*ORDER, TrialName):
        named = re.findall(r"^ {4}(\w+): ", inspect.getdoc(kind) or "", re.M)
        own = [field.name for field in fields(kind) if field.name != "name"]

        assert named == own, kind


def test_a_reader_who_leaves_ends_no_run():
    """What follows goes nowhere, and what is recorded is recorded."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    outlet = BrokenPipeSafeStream(stream)
    outlet.line("read")
    os.close(reading)
    for _ in range(3):
        outlet.line("unread" * 20_000)

    stream.close()


@pytest.mark.parametrize(
    ("asked", "is_terminal", "term", "wanted"),
    [
        ({"as_json": True}, True, "xterm", r'{"event": "message".*'),
        ({"is_quiet": True}, True, "xterm", ""),
        ({}, True, "xterm", r".*\x1b\[.*data: 2,000 photographs\n.*"),
        ({}, True, "dumb", "data: 2,000 photographs\n"),
        ({}, False, "xterm", "data: 2,000 photographs\n"),
    ],
)
def test_the_stream_and_the_user_decide_how_progress_is_told(
    monkeypatch, asked, is_terminal, term, wanted
):
    """A picture for a terminal that can draw, lines for all else, unless asked otherwise."""
    output, errors = io.StringIO(), io.StringIO()
    errors.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setenv("TERM", term)

    with reporter(**asked) as observe:
        observe(happened.NOTED)

    assert re.fullmatch(wanted, output.getvalue() + errors.getvalue(), re.S)


def test_the_documentation_says_what_the_docstrings_say():
    """docs/events.md ends with the tables that tools/document_events.py makes of them."""
    path = ROOT / "tools/document_events.py"
    spec = importlib.util.spec_from_file_location("document_events", path)
    document_events = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(document_events)

    written = document_events.DOCUMENT.read_text(encoding="utf-8")
    assert written.endswith(document_events.tables())

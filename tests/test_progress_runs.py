"""Real runs, watched: on a terminal, in a pipe, by a program; with a framework that chatters."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import local_plugins
import pytest
from terminal import Terminal

pytestmark = pytest.mark.slow

TALKER = """
import os, sys, warnings
from benchharness.api import hookimpl
from benchharness.testing.reference import NumpyBackend

@hookimpl
def benchharness_backend(options):
    os.write(1, b"CHATTER of a library in C\\n")
    print("CHATTER on standard output", flush=True)
    print("CHATTER on standard error", file=sys.stderr)
    warnings.warn("CHATTER as a warning")
    return NumpyBackend()
"""

SUITE = """
name = "watched"
trials = {trials}
backends = ["numpy", "talker"]

[dataset]
source = "drawn"

[[benchmark]]
name = "small"
strategy = "simple_cnn"
image_size = 16
train_images = 12
test_images = 4
validation = 0.25
filters = [2]
dense = 4
epochs = 3
"""

BENCHHARNESS = [sys.executable, "-m", "benchharness"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short suite, a long one, and a plugin that prints wherever it can."""
    folder = tmp_path_factory.mktemp("desk")
    local_plugins.install(folder / "plugin", "talker", TALKER)
    (folder / "watched.toml").write_text(SUITE.format(trials=1))
    (folder / "long.toml").write_text(SUITE.format(trials=50))
    return folder


def surroundings(desk: Path, **more: str) -> dict[str, str]:
    """Return the variables of a process that finds the plugin."""
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return kept | {
        "PYTHONPATH": str(desk / "plugin"),
        "BENCHHARNESS_CACHE": str(desk / "cache"),
        **more,
    }


def call(desk: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a pipe."""
    return subprocess.run(
        [*BENCHHARNESS, *arguments],
        cwd=desk,
        env=surroundings(desk),
        capture_output=True,
        text=True,
        timeout=600,
    )


def on_terminal(desk: Path, *arguments: str, columns: int, **more: str) -> Terminal:
    """Run the command line on a terminal."""
    return Terminal(
        [*BENCHHARNESS, *arguments],
        columns=columns,
        cwd=desk,
        environment=surroundings(desk, **more),
    )


def records(desk: Path) -> list[dict]:
    """Return the records of the latest run."""
    text = (desk / "results/watched/latest/records.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def told(desk: Path) -> tuple[subprocess.CompletedProcess[str], list[dict]]:
    """A whole run, its proof included, as a program is told of it; and its records."""
    return call(desk, "run", "watched.toml", "--json"), records(desk)


def test_a_program_reads_json_and_nothing_else(told):
    """Every line of standard output is an object, and standard error is empty."""
    done, _ = told

    assert done.stderr == ""
    assert done.returncode == 0
    assert all(isinstance(json.loads(line), dict) for line in done.stdout.splitlines())


def test_events_come_in_the_order_in_which_things_happen(told):
    """Start, images, proof, certificate, then each trial from its start to its end; the end."""
    events = [json.loads(line) for line in told[0].stdout.splitlines()]
    kinds = [event["event"] for event in events]

    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    apart = dict.fromkeys(kind for kind in kinds if kind not in ("message", "progress"))
    assert list(apart) == [
        "run_started",
        "preparing",
        "probe",
        "certificate",
        "trial_started",
        "phase",
        "epoch",
        "trial_finished",
        "run_finished",
    ]
    assert [event["number"] for event in events if event["event"] == "trial_started"] == [1, 2]
    first = [event for event in events if event.get("number") == 1 and "trial_id" in event]
    phases = [event["phase"] for event in first if event["event"] == "phase"]
    assert list(dict.fromkeys(phases)) == [
        "startup",
        "import",
        "data",
        "build",
        "compile",
        "train",
        "ledger",
        "evaluate",
        "test",
        "replay",
        "calibrate",
    ]
    assert [event["epoch"] for event in first if event["event"] == "epoch"] == [1, 2, 3]


def test_events_say_what_the_records_say(told):
    """Ids, status, metrics and proof of each trial; folder, answers and exit code of the run."""
    done, kept = told
    events = [json.loads(line) for line in done.stdout.splitlines()]
    finished = [event for event in events if event["event"] == "trial_finished"]

    assert [event["trial_id"] for event in finished] == [record["id"] for record in kept]
    assert [event["metrics"] for event in finished] == [record["metrics"] for record in kept]
    assert {event["proof"] for event in finished} == {"proven"}
    assert events[-1]["exit_code"] == done.returncode
    assert Path(events[-1]["folder"]).name == events[0]["run"]
    assert events[-1]["answers"][0].startswith("small: ")
    validated = [event["validation_top1"] for event in events if event["event"] == "epoch"]
    assert validated[:3] == [row["validation_top1"] for row in kept[0]["epochs"]]


def test_chatter_is_in_the_log_and_nowhere_else(desk: Path, told):
    """Whatever a framework prints, warns or writes past Python: timed and probed alike."""
    done, kept = told
    folder = desk / "results/watched/latest"
    (talker,) = (record for record in kept if record["backend"] == "talker")
    logs = [folder / talker["log"], folder / "logs/certificate-talker.log"]

    assert "CHATTER" not in done.stdout + done.stderr
    for log in logs:
        assert log.read_text().count("CHATTER") >= 4


def test_a_certificate_is_told_by_events_too(desk: Path, told):
    """The verdict with its figures, then the exit code."""
    done = call(desk, "certify", "watched.toml", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == events[-1]["exit_code"] == 0
    (certificate,) = (event for event in events if event["event"] == "certificate")
    assert certificate["certificate"]["verdict"] == "proven"
    assert certificate["certificate"]["stages"]


def test_a_request_that_is_not_understood_is_told_as_an_event(desk: Path):
    """Exit code and reason in the last line, the reason on standard error as well."""
    done = call(desk, "run", "missing.toml", "--json")
    (event,) = map(json.loads, done.stdout.splitlines())

    assert done.returncode == event["exit_code"] == 2
    assert done.stderr.splitlines() == [f"error: {line}" for line in event["errors"]]


def test_a_program_that_stops_reading_does_not_stop_the_run(desk: Path, told):
    """It reads one line, with the earlier run's seconds, and leaves; every trial is recorded."""
    run = subprocess.Popen(
        [*BENCHHARNESS, "run", "watched.toml", "--json", "--no-proof"],
        cwd=desk,
        env=surroundings(desk),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = json.loads(run.stdout.readline())
    run.stdout.close()
    errors = run.stderr.read()

    assert run.wait(timeout=600) == 0
    assert errors == ""
    earlier = {record["backend"]: record["metrics"]["wall_s"] for record in told[1]}
    assert {cell["backend"]: cell["expected_s"] for cell in first["cells"]} == earlier
    assert len(records(desk)) == 2
    assert (desk / "results/watched/latest").resolve().name == first["run"]


def test_a_quiet_run_prints_its_table_alone(desk: Path):
    """Nothing on standard error, the table on standard output."""
    done = call(desk, "run", "watched.toml", "--quiet", "--no-proof")

    assert done.stderr == ""
    assert "small" in done.stdout
    assert "numpy" in done.stdout


def test_a_quiet_run_still_tells_its_errors(desk: Path):
    """Silence is for what goes well."""
    done = call(desk, "run", "missing.toml", "-q")

    assert done.returncode == 2
    assert done.stderr.startswith("error: missing.toml: ")


def test_a_pipe_gets_plain_lines(desk: Path):
    """A line as each trial begins, one at its end, and no control codes."""
    done = call(desk, "run", "watched.toml", "--no-proof")
    lines = done.stderr.splitlines()

    assert "\x1b" not in done.stdout + done.stderr
    # A trial of more than ten seconds has further lines.
    lasting = [line for line in lines if line.startswith(("[", "        ok in "))]
    assert [line.partition(" in ")[0] for line in lasting] == [
        "[1/2] small on numpy",
        "        ok",
        "[2/2] small on talker",
        "        ok",
    ]


@pytest.mark.parametrize(("columns", "colours"), [(60, {"NO_COLOR": "1"}), (140, {})])
def test_on_a_terminal_the_picture_comes_and_goes_and_plain_lines_stay(
    desk: Path, columns: int, colours: dict[str, str]
):
    """One suite line while trials run; afterwards one line for each trial, and the table."""
    terminal = on_terminal(desk, "run", "watched.toml", "--no-proof", columns=columns, **colours)
    code = terminal.end()

    assert code == 0
    drawn = [[line for line in frame if " elapsed" in line] for frame in terminal.frames]
    suite_lines = [line for lines in drawn for line in lines]
    assert {line.split("]")[0] for line in suite_lines} == {"[1/2", "[2/2"}
    assert max(map(len, drawn)) == 1
    assert not any(" elapsed" in line for line in terminal.lines)
    screen = "\n".join(terminal.lines)
    assert "[1/2] small on numpy: ok in " in screen
    assert "[2/2] small on talker: ok in " in screen
    assert screen.index("[2/2] small on talker: ok in ") < screen.index("records, CSV files")
    assert not terminal.screen.cursor.hidden
    assert bool(re.search(rb"\x1b\[[0-9;]*3[0-8]", terminal.output)) is not bool(colours)


def test_interrupting_a_live_run_leaves_a_clean_terminal(desk: Path):
    """Ctrl-C: exit code 130, the cursor is back, the picture is gone, what finished is told."""
    terminal = on_terminal(desk, "run", "long.toml", "--no-proof", columns=80)
    terminal.watch(lambda: any(line.startswith("[2/100] small") for line in terminal.lines))
    terminal.press(b"\x03")

    assert terminal.end() == 130
    assert terminal.lines[-1] == "interrupted; finished trials have been saved"
    assert not any(" elapsed" in line for line in terminal.lines)
    assert not terminal.screen.cursor.hidden
    assert len(records(desk)) >= 2


def test_a_run_that_is_told_to_end_puts_everything_in_order(desk: Path):
    """SIGTERM: exit code 143, the cursor is back, and the tables of what finished are written."""
    terminal = on_terminal(desk, "run", "long.toml", "--no-proof", columns=80)
    terminal.watch(lambda: any(line.startswith("[1/100] small") for line in terminal.lines))
    terminal.process.send_signal(signal.SIGTERM)

    assert terminal.end() == 143
    assert terminal.lines[-1] == "terminated by SIGTERM; finished trials have been saved"
    assert not terminal.screen.cursor.hidden
    rows = (desk / "results/watched/latest/trials.csv").read_text().splitlines()
    assert len(rows) == 1 + len(records(desk)) >= 2


def test_an_error_leaves_a_clean_terminal(desk: Path):
    """The picture is taken away before the error is told."""
    terminal = on_terminal(desk, "run", "missing.toml", columns=80)

    assert terminal.end() == 2
    assert terminal.lines[0].startswith("error: missing.toml: ")
    assert not terminal.screen.cursor.hidden

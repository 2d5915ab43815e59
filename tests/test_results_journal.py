"""Acknowledged records stay, whatever happens to the file or the process."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_records import record

from benchharness.results import journal

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(-1e300, 1e300) | st.text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a journal is to be."""
    return tmp_path / "records.jsonl"


@given(st.dictionaries(st.text(), LEAVES | st.lists(LEAVES)))
def test_a_line_gives_back_its_record(record):
    """Encoding and decoding return the same JSON, on one line, whatever the texts contain."""
    line = journal.encode(record)

    assert line.count(b"\n") == 1
    assert journal.decode(line.removesuffix(b"\n")) == record


@given(st.data())
def test_a_changed_byte_is_noticed(data):
    """No single changed byte of a line passes the checksum."""
    line = bytearray(journal.encode({"id": "a", "reason": "x" * 20}).rstrip(b"\n"))
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] ^= data.draw(st.integers(1, 255))

    assert journal.decode(bytes(line)) is None


def test_numbers_json_has_no_word_for_become_null(path):
    """NaN and infinities are null in the file, so that every JSON reader accepts it."""
    journal.append(path, {"metrics": {"train_loss": float("nan")}, "epochs": [float("inf"), 0.5]})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    stored = json.loads(path.read_bytes(), parse_constant=refuse)
    assert stored == {
        "crc32": stored["crc32"],
        "metrics": {"train_loss": None},
        "epochs": [None, 0.5],
    }


def test_any_reader_of_json_lines_reads_the_file(path):
    """Pandas, and jq where it is installed, know nothing of our checksum."""
    whole = [record(id="a"), record(id="b", status="failed", reason="é\n\u2028")]
    for one in whole:
        journal.append(path, one)

    frame = pandas.read_json(path, lines=True)
    jq = shutil.which("jq")
    ids = subprocess.check_output([jq, "-r", ".id", path], text=True) if jq else "a\nb\n"

    assert frame["id"].tolist() == ["a", "b"]
    assert frame["metrics"].tolist() == [one["metrics"] for one in whole]
    assert ids == "a\nb\n"
    assert journal.read(path) == (whole, [])


def test_lines_of_an_older_file_are_read_and_followed(path):
    """Where a checksum and a space stand before the object, the next line is one of today's."""
    payload = json.dumps(record(id="old")).encode()
    path.write_bytes(b"%08x %s\n%08x {torn" % (zlib.crc32(payload), payload, 1))

    journal.append(path, record(id="new"))

    assert journal.read(path) == ([record(id="old"), record(id="new")], [])
    assert (path.parent / "records.damaged").read_bytes() == b"00000001 {torn\n"


def test_a_lock_keeps_nobody_from_reading(path):
    """What another process is writing is looked at all the same."""
    journal.append(path, {"id": "a"})

    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = journal.read(path)

    assert found == ([{"id": "a"}], [])


def test_a_tail_torn_anywhere_costs_only_its_record(path):
    """Wherever the last line is cut, the first stays and the next one is stored behind it."""
    first, second, third = ({"id": name} for name in "abc")
    whole = journal.encode(first) + journal.encode(second)
    start = len(journal.encode(first))

    for cut in range(start + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        journal.append(path, third)

        assert journal.read(path) == ([first, third], [])


@pytest.mark.parametrize(
    ("reason", "tail"),
    [
        ("", b"0123abcd {torn"),
        # A file system may have made the file longer and not yet written what belongs there.
        ("", bytes(4096)),
        # Both longer than what is read at first.
        ("x" * 200_000, b"0123abcd " + b"{" * 300_000),
    ],
    ids=["torn", "zeros", "long"],
)
def test_what_follows_the_last_whole_record_is_set_aside(path, reason, tail):
    """What healing removes from the journal stands in records.damaged."""
    journal.append(path, {"id": "a", "reason": reason})
    with path.open("ab") as file:
        file.write(tail)

    journal.append(path, {"id": "b"})

    assert journal.read(path) == ([{"id": "a", "reason": reason}, {"id": "b"}], [])
    assert (path.parent / "records.damaged").read_bytes() == tail + b"\n"


def test_a_last_line_that_only_lacks_its_newline_is_kept(path):
    """A whole record counts even where an editor removed the end of its line."""
    path.write_bytes(journal.encode({"id": "a"}).rstrip(b"\n"))

    journal.append(path, {"id": "b"})

    assert journal.read(path) == ([{"id": "a"}, {"id": "b"}], [])
    assert not (path.parent / "records.damaged").exists()


def test_damage_in_the_middle_is_reported_with_its_line_and_reading_goes_on(path):
    """A damaged line costs itself; the message names file, line and remedy."""
    for name in "abc":
        journal.append(path, {"id": name})
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"B"'))

    records, problems = journal.read(path)

    assert records == [{"id": "a"}, {"id": "c"}]
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:2: ")
    assert "--resume` repeats the trial" in problems[0]


def test_a_record_of_another_format_is_reported_and_stays(path):
    """A newer format is not misread, and appending does not take it for damage."""
    journal.append(path, {"id": "a", "format": 3})
    journal.append(path, {"id": "b", "format": 1})

    records, problems = journal.read(path)

    assert [record["id"] for record in records] == ["b"]
    assert "format 2 or older, found 3" in problems[0]


def append_many(path: Path, writer: int) -> None:
    """Append 25 records of several kilobytes."""
    for number in range(25):
        journal.append(path, {"id": f"{writer}-{number}", "reason": "x" * 5000})


def test_records_of_the_first_format_are_read_as_those_of_today():
    """Lines that an earlier version has written: every one counts, and lacks nothing."""
    recorded = Path(__file__).parent / "format_1.jsonl"

    records, problems = journal.read(recorded)

    assert problems == []
    assert len(records) == len(recorded.read_bytes().splitlines()) > 0
    assert {record["format"] for record in records} == {2}
    assert all(record["failure"] is None and record["attempts"] == [] for record in records)


def test_former_names_of_fields_are_read_as_those_of_today(path):
    """``held_bytes`` and ``last_words`` are in records of earlier versions."""
    failure = {"phase": "train", "epoch": 2, "last_words": ["ouch"]}
    journal.append(path, {"id": "a", "format": 2, "held_bytes": 5, "failure": failure})

    ((record,), _) = journal.read(path)

    assert record["unreleased_device_bytes"] == 5
    assert record["failure"] == {"phase": "train", "epoch": 2, "log_tail": ["ouch"]}
    assert "held_bytes" not in record


def test_appending_reads_only_the_end_of_a_long_file(path, monkeypatch):
    """The thousandth record costs what the first did."""
    line = journal.encode({"id": "a", "reason": "x" * 1000})
    path.write_bytes(line * 5000)
    read = []
    original = os.pread

    def counting(descriptor: int, size: int, offset: int) -> bytes:
        read.append(size)
        return original(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", counting)
    journal.append(path, {"id": "b"})

    assert sum(read) < 100_000


def test_two_writers_do_not_mix_their_lines(path):
    """Records that two processes append at once are all whole."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(path, writer)) for writer in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    records, problems = journal.read(path)

    assert problems == []
    assert {record["id"] for record in records} == {f"{w}-{n}" for w in (0, 1) for n in range(25)}


def test_a_writer_waits_while_another_mends_the_file(path):
    """As long as the file is locked nothing is appended, so healing cannot cut a fresh record."""
    journal.append(path, {"id": "a"})
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer = threading.Thread(target=journal.append, args=(path, {"id": "b"}))
        writer.start()
        writer.join(timeout=0.2)
        while_held = path.read_bytes()
    writer.join()

    assert while_held == journal.encode({"id": "a"})
    assert journal.read(path) == ([{"id": "a"}, {"id": "b"}], [])


def test_what_was_acknowledged_survives_a_kill(path):
    """Every record that append returned for is there after SIGKILL at a random moment."""
    script = (
        "import sys, pathlib; from benchharness.results import journal\n"
        "for n in range(10**6):\n"
        "    journal.append(pathlib.Path(sys.argv[1]), {'id': n, 'reason': 'x' * 3000})\n"
        "    print(n, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        acknowledged = [int(writer.stdout.readline()) for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().split()]
    journal.append(path, {"id": "after"})

    records, problems = journal.read(path)

    assert problems == []
    assert {record["id"] for record in records} >= {*acknowledged, "after"}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to make any file larger, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_record(path):
    """Where only part of a line fits, the file ends as it did before and the caller is told."""
    journal.append(path, {"id": "a"})
    before = path.read_bytes()

    with largest_file(len(before) + 100), pytest.raises(OSError, match="No space left"):
        journal.append(path, {"id": "b", "reason": "x" * 1000})

    assert path.read_bytes() == before


def test_an_older_record_reaches_its_target_by_count(path: Path):
    """36 of 40 in the second epoch, whose mean in float32 is just below 0.9."""
    old = record(
        metrics={"validation_top1": 0.89999998, "test_top1": 0.875, "time_to_top1_s": None},
        settings={"target_top1": 0.9},
        validation_count=40,
    )
    for epoch, top1 in zip(old["epochs"], (0.875, 0.89999998), strict=True):
        epoch["validation_top1"] = top1
    journal.append(path, old)
    journal.append(path, old | {"class_counts": {}})

    (found, new), _ = journal.read(path)

    assert found["metrics"]["time_to_top1_s"] == 5.0
    assert found["metrics"]["validation_top1"] == 0.9
    assert [epoch["validation_top1"] for epoch in found["epochs"]] == [0.875, 0.9]
    assert new["metrics"]["time_to_top1_s"] is None

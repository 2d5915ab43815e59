"""Downloads against a server that breaks off, lies, stalls and serves the wrong thing."""

from __future__ import annotations

import random
import socket
import time
from dataclasses import replace

import pytest
from web_server import remote

from benchharness.download.transfer import Timeouts, UnreachableError, download
from benchharness.errors import FetchError

pytestmark = pytest.mark.slow

BODY = random.Random(1).randbytes(400_000)
# A server on a busy machine may wait for a core; what is to time out states less.
PATIENT = Timeouts(connect_s=30.0, answer_s=60.0, read_s=60.0, tries=4)


def fetch(tmp_path, *urls, body=BODY, progress=None, timeouts=PATIENT):
    """Download a file of that content from these addresses."""
    file = remote("file.bin", body, *urls)
    return download(file, tmp_path / "in", timeouts=timeouts, progress=progress)


def nothing_left(tmp_path):
    """Return whether no part of a file is kept."""
    return not list((tmp_path / "in").iterdir())


def test_a_file_arrives_whole_with_progress_and_nothing_beside_it(server, tmp_path):
    """Progress counts up to all bytes; parts and notes are gone."""
    seen = []

    path = fetch(tmp_path, server.put("a", BODY), progress=lambda *now: seen.append(now))

    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert [item.name for item in path.parent.iterdir()] == ["file.bin"]


def test_a_file_that_is_there_is_not_asked_for_again(server, tmp_path):
    """Its digest is enough."""
    url = server.put("a", BODY)
    fetch(tmp_path, url)

    fetch(tmp_path, url)

    assert len(server.asked) == 1


def test_a_file_that_was_changed_on_disk_is_fetched_again(server, tmp_path):
    """Whatever has another digest is not the file."""
    url = server.put("a", BODY)
    fetch(tmp_path, url).write_bytes(b"spoilt")

    assert fetch(tmp_path, url).read_bytes() == BODY


def test_a_connection_that_ends_early_is_continued_where_it_ended(server, tmp_path):
    """The second answer begins at the first missing byte."""
    url = server.put("a", BODY, breaks_after=[150_000, 100_000])

    path = fetch(tmp_path, url)

    assert path.read_bytes() == BODY
    assert server.asked == [("a", ""), ("a", "bytes=150000-"), ("a", "bytes=250000-")]


def test_a_later_call_continues_what_an_earlier_one_left(server, tmp_path):
    """A try that ends for good keeps its part, and says so."""
    url = server.put("a", BODY, breaks_after=[150_000, 0])
    with pytest.raises(FetchError, match=r"broke off after 150,000 of 400,000 bytes.*is kept"):
        fetch(tmp_path, url)

    path = fetch(tmp_path, url)

    assert path.read_bytes() == BODY
    assert server.asked[-1] == ("a", "bytes=150000-")


def test_another_mirror_continues_what_the_first_one_left(server, tmp_path):
    """The digest decides."""
    first = server.put("a", BODY, breaks_after=[150_000, 0])
    second = server.put("b", BODY)

    assert fetch(tmp_path, first, second).read_bytes() == BODY
    assert server.asked[-1] == ("b", "bytes=150000-")


def test_an_edition_that_changed_on_the_way_is_fetched_from_its_beginning(server, tmp_path):
    """What does not fit together has another digest, and is fetched once more."""
    url = server.put("a", bytes(len(BODY)), breaks_after=[150_000, 0])
    with pytest.raises(FetchError):
        fetch(tmp_path, url)
    server.put("a", BODY)

    assert fetch(tmp_path, url).read_bytes() == BODY


@pytest.mark.parametrize("options", [{"has_ranges": False}, {"range_total": 7_000_000}])
def test_a_server_that_cannot_continue_starts_again(server, tmp_path, options):
    """Range is ignored, or answered for another file: the whole file is fetched."""
    url = server.put("a", BODY, breaks_after=[150_000], **options)

    assert fetch(tmp_path, url).read_bytes() == BODY


def test_a_bad_part_does_not_condemn_the_server(server, tmp_path):
    """A part that was spoilt on disk is thrown away, and the file fetched once more."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file.bin.partial").write_bytes(bytes(150_000))

    path = fetch(tmp_path, server.put("a", BODY))

    assert path.read_bytes() == BODY
    assert [wanted for _, wanted in server.asked] == ["bytes=150000-", ""]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    """It belongs to something else."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file.bin.partial").write_bytes(bytes(500_000))

    assert fetch(tmp_path, server.put("a", BODY)).read_bytes() == BODY


@pytest.mark.parametrize("announces", [399_999, 400_001, 4_000_000_000])
def test_another_announced_length_is_refused_before_a_byte_is_read(server, tmp_path, announces):
    """What is not as long as published is not the file."""
    with pytest.raises(FetchError, match=f"expected 400,000 bytes, found {announces:,} announced"):
        fetch(tmp_path, server.put("a", BODY, announces=announces))

    assert nothing_left(tmp_path)


def test_more_bytes_than_published_are_not_read(server, tmp_path):
    """A server that announces nothing and goes on and on is left."""
    seen = []
    url = server.put("a", BODY + bytes(5_000_000), announces=0)

    with pytest.raises(FetchError, match="expected 400,000 bytes, found more"):
        fetch(tmp_path, url, progress=lambda *now: seen.append(now))

    assert max(done for done, _ in seen) <= len(BODY)
    assert nothing_left(tmp_path)


def test_fewer_bytes_than_published_are_refused(server, tmp_path):
    """An end without an announced length looks like success, and is none."""
    url = server.put("a", BODY[:-1], announces=0, has_ranges=False)

    with pytest.raises(FetchError, match="broke off after 399,999 of 400,000 bytes"):
        fetch(tmp_path, url)


def test_wrong_bytes_are_thrown_away(server, tmp_path):
    """Both digests are named, and nothing of it can be mistaken for the file."""
    wrong = bytes(len(BODY))
    expected = remote("file.bin", BODY).sha256
    found = remote("file.bin", wrong).sha256

    with pytest.raises(FetchError, match=f"expected SHA-256 {expected}, found {found}"):
        fetch(tmp_path, server.put("a", wrong))

    assert nothing_left(tmp_path)


def test_mirrors_are_tried_in_their_order(server, tmp_path):
    """Missing, broken, wrong: the fourth has it."""
    urls = [
        server.put("a", status=404),
        server.put("b", status=500),
        server.put("c", bytes(len(BODY))),
        server.put("d", BODY),
        server.put("e", BODY),
    ]

    assert fetch(tmp_path, *urls).read_bytes() == BODY
    assert [path for path, _ in server.asked] == ["a", "b", "c", "d"]


def test_all_failures_are_in_one_message(server, tmp_path):
    """Each address with what it gave."""
    urls = [server.put("a", status=404), server.put("b", status=503), server.put("c", b"short")]

    with pytest.raises(FetchError) as caught:
        fetch(tmp_path, *urls)

    message = str(caught.value)
    assert "file.bin: expected 400,000 bytes from 127.0.0.1, found: " in message
    for url, reason in zip(urls, ("404 Not Found", "503 Service", "5 announced"), strict=True):
        assert url in message and reason in message
    assert "\n" not in message


def test_redirects_are_followed_but_not_for_ever(server, tmp_path):
    """One that leads in a circle is a failure like any other."""
    server.put("a", BODY)
    there = server.put("b", status=302, location="/a")
    circle = server.put("c", status=302, location="/c")

    assert fetch(tmp_path / "1", there).read_bytes() == BODY
    with pytest.raises(FetchError, match="TooManyRedirects"):
        fetch(tmp_path / "2", circle)


def test_a_server_that_falls_silent_is_left_soon_and_its_part_kept(server, tmp_path):
    """The next mirror takes over."""
    first = server.put("a", BODY, stalls_s=600.0)
    second = server.put("b", BODY)
    started = time.monotonic()

    path = fetch(tmp_path, first, second, timeouts=replace(PATIENT, read_s=3.0, tries=2))

    assert path.read_bytes() == BODY
    assert time.monotonic() - started < 120
    asked, wanted = server.asked[-1]
    assert asked == "b"
    assert int(wanted.removeprefix("bytes=").rstrip("-")) > 0


@pytest.mark.parametrize("limit", [{"answer_s": 1.0}, {"read_s": 1.0}])
def test_a_server_that_never_answers_is_unreachable_within_seconds(tmp_path, limit):
    """It accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=r"no answer|timed out"):
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
            fetch(tmp_path, url, timeouts=replace(PATIENT, **limit))

    assert time.monotonic() - started < 40


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://127.0.0.1:9/a", "refused"), ("http://no-such-host.invalid/a", "resolve")],
)
def test_no_network_is_distinguished_from_a_bad_server(tmp_path, url, reason):
    """Who cannot be reached at all has not refused."""
    with pytest.raises(UnreachableError, match=reason):
        fetch(tmp_path, url)


def test_an_address_of_a_strange_kind_is_no_crash(server, tmp_path):
    """Redirected to a local file, it is refused."""
    with pytest.raises(FetchError, match="file:///etc/passwd"):
        fetch(tmp_path, server.put("a", status=302, location="file:///etc/passwd"))


def test_a_folder_that_cannot_be_written_is_no_server_failure(server, tmp_path):
    """The message names the folder and the variable that moves it."""
    (tmp_path / "in").write_text("in the way")

    with pytest.raises(FetchError, match="BENCHHARNESS_CACHE"):
        fetch(tmp_path, server.put("a", BODY))

"""Downloads of a session: whether there may be any, and who is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchharness.download.fetcher import Fetcher
from benchharness.run.events import Downloading, Observer, announce

OFFLINE = "BENCHHARNESS_OFFLINE"


def open_fetcher(cache: Path, *, environment: Mapping[str, str], is_offline: bool) -> Fetcher:
    """Return what fetches for a session.

    Args:
        cache: What is fetched is kept in ``downloads`` below it.
        environment: ``BENCHHARNESS_OFFLINE`` forbids the network, unless it is empty or 0.
        is_offline: Whether the user forbids it.
    """
    is_forbidden = environment.get(OFFLINE, "") not in ("", "0")
    return Fetcher(folder=cache / "downloads", is_offline=is_offline or is_forbidden)


def listen(fetcher: Fetcher | None, observe: Observer) -> None:
    """Have an observer told of downloads: a line as each begins, and how far it has come.

    Args:
        fetcher: None where nothing is fetched.
    """
    if fetcher is None:
        return
    fetcher.on_download = lambda what, done, count: observe(
        Downloading(what=what, done_bytes=done, count_bytes=count)
    )
    fetcher.announce = lambda line: announce(observe, [line])

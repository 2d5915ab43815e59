"""One file over HTTP: continued where an earlier try broke off, never more than was announced."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import Response

Progress = Callable[[int, int], None]

_BLOCK_BYTES = 65_536
_RANGE = re.compile(r"bytes (?P<first>[0-9]+)-(?P<last>[0-9]+)/(?P<all>[0-9]+|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for a server.

    Attributes:
        connect_s: For one of its addresses to accept.
        answer_s: For an answer, names and addresses and redirects included.
        read_s: Between two pieces of the file.
        tries: How often to go on with a file that breaks off on the way.
    """

    connect_s: float = 5.0
    answer_s: float = 6.0
    read_s: float = 15.0
    tries: int = 10


class TransferError(Exception):
    """A server did not give the file.

    Attributes:
        is_unreachable: Whether it did not answer at all, as without a network.
    """

    def __init__(self, what: str, *, is_unreachable: bool = False) -> None:
        super().__init__(what)
        self.is_unreachable = is_unreachable


class BrokenOffError(TransferError):
    """The connection ended on the way; what has arrived is kept."""


class _StaleError(Exception):
    """What has arrived earlier cannot be continued."""


def transfer(
    url: str,
    partial: Path,
    *,
    size_bytes: int,
    patience: Timeouts,
    progress: Progress | None = None,
) -> None:
    """Fetch what ``partial`` lacks of a file, which is then whole but not yet checked.

    Args:
        url: Where the file lies.
        partial: What has arrived, perhaps in an earlier try; kept when this one breaks off.
        size_bytes: What the file must have.
        progress: Called with bytes there are and bytes in all.

    Raises:
        TransferError: The server does not answer, does not have it, or has another file.
        OSError: The disk is full or cannot be written.
    """
    for tries_left in reversed(range(patience.tries)):
        before = arrived(partial)
        try:
            _go_on(url, partial, size_bytes=size_bytes, patience=patience, progress=progress)
        except _StaleError:
            discard(partial)
        except BrokenOffError:
            # A server that gives nothing at all will not give more the next time.
            if arrived(partial) == before or not tries_left:
                raise
        else:
            return
    raise TransferError("the server could not continue the file")


def arrived(partial: Path) -> int:
    """Return how many bytes have arrived."""
    return partial.stat().st_size if partial.is_file() else 0


def discard(partial: Path) -> None:
    """Throw away what has arrived."""
    partial.unlink(missing_ok=True)
    _edition_file(partial).unlink(missing_ok=True)


def _go_on(
    url: str, partial: Path, *, size_bytes: int, patience: Timeouts, progress: Progress | None
) -> None:
    start = arrived(partial)
    if start > size_bytes:
        raise _StaleError
    if start == size_bytes:
        return
    headers = _range_headers(url, partial, start)
    with closing(_answer(url, headers, patience)) as response:
        done = _first_byte(response, start=start, size_bytes=size_bytes)
        if not done:
            _note_edition(url, partial, response)
        with partial.open("ab" if done else "wb") as file:
            for block in _blocks(response, patience):
                done += len(block)
                if done > size_bytes:
                    break
                file.write(block)
                if progress is not None:
                    progress(done, size_bytes)
    if done > size_bytes:
        discard(partial)
        raise TransferError(f"expected {size_bytes:,} bytes, found more")
    if done < size_bytes:
        raise BrokenOffError(f"broke off after {done:,} of {size_bytes:,} bytes")


def _range_headers(url: str, partial: Path, start: int) -> dict[str, str]:
    # Whatever is compressed on the way would have another size.
    headers = {"Accept-Encoding": "identity", "User-Agent": "benchharness"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if edition := _edition(url, partial):
            headers["If-Range"] = edition
    return headers


def _answer(url: str, headers: dict[str, str], patience: Timeouts) -> Response:
    """Return the server's answer, its body not yet read.

    On a thread, for finding the address of a name has no time limit of its own, and a name may
    have many addresses.
    """
    import requests

    answers: queue.SimpleQueue[Response | Exception] = queue.SimpleQueue()

    def ask() -> None:
        timeout = (patience.connect_s, patience.read_s)
        try:
            answers.put(requests.get(url, headers=headers, stream=True, timeout=timeout))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=patience.answer_s)
    except queue.Empty:
        raise TransferError(
            f"no answer within {patience.answer_s:g} s", is_unreachable=True
        ) from None
    if isinstance(answer, requests.Response):
        return answer
    if isinstance(answer, requests.ConnectionError | requests.Timeout):
        raise TransferError(_reason(answer), is_unreachable=True) from answer
    if isinstance(answer, requests.RequestException | ValueError):
        raise TransferError(f"{type(answer).__name__}: {answer}") from answer
    raise answer


def _reason(error: Exception) -> str:
    """Return why there was no connection, without the library's wrappings."""
    inner: object = error.args[0] if error.args else error
    inner = getattr(inner, "reason", None) or inner
    text = str(inner)
    # urllib3 begins with the connection's own representation.
    return text.rsplit(": ", 1)[-1] if "Failed to" in text or ">:" in text else text


def _first_byte(response: Response, *, start: int, size_bytes: int) -> int:
    """Return where in the file the answer begins: at ``start``, or at 0 where it begins anew."""
    if response.status_code == 206 and start:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found or int(found["first"]) != start or found["all"] not in ("*", str(size_bytes)):
            raise _StaleError
        return start
    if response.status_code == 416 and start:
        raise _StaleError
    if response.status_code != 200:
        raise TransferError(f"answered {response.status_code} {response.reason}".rstrip())
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) != size_bytes:
        raise TransferError(f"expected {size_bytes:,} bytes, found {int(announced):,} announced")
    return 0


def _blocks(response: Response, patience: Timeouts) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    try:
        # As they are: what a server calls encoded may be the published file itself.
        yield from response.raw.stream(_BLOCK_BYTES, decode_content=False)
    except ReadTimeoutError as error:
        raise BrokenOffError(f"nothing more came for {patience.read_s:g} s") from error
    except (HTTPError, OSError):
        # The connection is gone; the number of bytes tells how far it came.
        return


def _edition_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.edition")


def _edition(url: str, partial: Path) -> str | None:
    """Return what the server called the edition of the file that has arrived in part."""
    try:
        address, edition = _edition_file(partial).read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        return None
    return edition if address == url else None


def _note_edition(url: str, partial: Path, response: Response) -> None:
    """Write down the edition, so that another is never appended to it."""
    tag = response.headers.get("ETag", "")
    # Source: RFC 9110, 13.1.5: a weak tag must not be used to continue.
    edition = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
    if edition:
        _edition_file(partial).write_text(f"{url}\n{edition}", encoding="utf-8")
    else:
        _edition_file(partial).unlink(missing_ok=True)

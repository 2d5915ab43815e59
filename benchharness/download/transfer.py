"""HTTP transfer of one file, continued where an earlier try broke off."""

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
        tries: How often to continue a file that breaks off on the way.
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


class _BrokenOffError(TransferError):
    """The connection ended on the way; what has arrived is kept."""


class _StaleError(Exception):
    """What has arrived earlier cannot be continued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A file on its way.

    Attributes:
        url: Where the file is.
        partial: What has arrived, perhaps in an earlier try; kept when this one breaks off.
        size_bytes: What the file must have.
        progress: Called with bytes there are and bytes in all.
    """

    url: str
    partial: Path
    size_bytes: int
    timeouts: Timeouts
    progress: Progress | None = None

    @property
    def arrived(self) -> int:
        """Bytes that have arrived."""
        return self.partial.stat().st_size if self.partial.is_file() else 0

    @property
    def _etag_file(self) -> Path:
        return self.partial.with_name(f"{self.partial.name}.etag")

    def run(self) -> None:
        """Fetch what is missing of the file, which is then whole but not yet checked.

        Raises:
            TransferError: The server does not answer, does not have it, or has another file.
            OSError: The disk is full or cannot be written.
        """
        for tries_left in reversed(range(self.timeouts.tries)):
            before = self.arrived
            try:
                self._continue(before)
            except _StaleError:
                self.discard()
            except _BrokenOffError:
                # A server that gives nothing at all will not give more the next time.
                if self.arrived == before or not tries_left:
                    raise
            else:
                return
        raise TransferError("the server could not continue the file")

    def discard(self) -> None:
        """Remove what has arrived."""
        self.partial.unlink(missing_ok=True)
        self._etag_file.unlink(missing_ok=True)

    def _continue(self, start: int) -> None:
        if start > self.size_bytes:
            raise _StaleError
        if start == self.size_bytes:
            return
        with closing(self._answer(start)) as response:
            done = self._first_byte(response, start)
            if not done:
                self._write_etag(response)
            with self.partial.open("ab" if done else "wb") as file:
                for block in self._blocks(response):
                    done += len(block)
                    if done > self.size_bytes:
                        break
                    file.write(block)
                    if self.progress is not None:
                        self.progress(done, self.size_bytes)
        if done > self.size_bytes:
            self.discard()
            raise TransferError(f"expected {self.size_bytes:,} bytes, found more")
        if done < self.size_bytes:
            raise _BrokenOffError(f"broke off after {done:,} of {self.size_bytes:,} bytes")

    def _answer(self, start: int) -> Response:
        """Return the server's answer, its body not yet read.

        On a thread, for finding the address of a name has no time limit of its own, and a name may
        have many addresses.
        """
        import requests

        # Whatever is compressed on the way would have another size.
        headers = {"Accept-Encoding": "identity", "User-Agent": "benchharness"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if etag := self._etag():
                headers["If-Range"] = etag
        answers: queue.SimpleQueue[Response | Exception] = queue.SimpleQueue()

        def ask() -> None:
            timeout = (self.timeouts.connect_s, self.timeouts.read_s)
            try:
                answers.put(requests.get(self.url, headers=headers, stream=True, timeout=timeout))
            except Exception as error:
                answers.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=self.timeouts.answer_s)
        except queue.Empty:
            raise TransferError(
                f"no answer within {self.timeouts.answer_s:g} s", is_unreachable=True
            ) from None
        if isinstance(answer, requests.Response):
            return answer
        if isinstance(answer, requests.ConnectionError | requests.Timeout):
            raise TransferError(_reason(answer), is_unreachable=True) from answer
        if isinstance(answer, requests.RequestException | ValueError):
            raise TransferError(f"{type(answer).__name__}: {answer}") from answer
        raise answer

    def _first_byte(self, response: Response, start: int) -> int:
        """Return where in the file the answer begins: at ``start`` or at 0."""
        size_bytes = self.size_bytes
        if response.status_code == 206 and start:
            match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            sizes = ("*", str(size_bytes))
            if not match or int(match["first"]) != start or match["all"] not in sizes:
                raise _StaleError
            return start
        if response.status_code == 416 and start:
            raise _StaleError
        if response.status_code != 200:
            raise TransferError(f"answered {response.status_code} {response.reason}".rstrip())
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) != size_bytes:
            raise TransferError(
                f"expected {size_bytes:,} bytes, found {int(announced):,} announced"
            )
        return 0

    def _blocks(self, response: Response) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        try:
            # As they are: what a server calls encoded may be the published file itself.
            yield from response.raw.stream(_BLOCK_BYTES, decode_content=False)
        except ReadTimeoutError as error:
            raise _BrokenOffError(f"no more data for {self.timeouts.read_s:g} s") from error
        except (HTTPError, OSError):
            # The connection is gone; the number of bytes tells how far it came.
            return

    def _etag(self) -> str:
        """Return what the server called the version that has arrived in part; empty for nothing."""
        try:
            url, etag = self._etag_file.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError):
            return ""
        return etag if url == self.url else ""

    def _write_etag(self, response: Response) -> None:
        """Write down the version, so that another is never appended to it."""
        tag = response.headers.get("ETag", "")
        # Source: RFC 9110, 13.1.5: a weak tag must not be used to continue.
        version = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        if version:
            self._etag_file.write_text(f"{self.url}\n{version}", encoding="utf-8")
        else:
            self._etag_file.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """Return why there was no connection, without the library's wrappings."""
    inner: object = error.args[0] if error.args else error
    inner = getattr(inner, "reason", None) or inner
    text = str(inner)
    # urllib3 begins with the connection's own representation.
    return text.rsplit(": ", 1)[-1] if "Failed to" in text or ">:" in text else text

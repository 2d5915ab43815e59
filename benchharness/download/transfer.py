"""HTTP transfer of a file, continued where an earlier try broke off, and checked at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchharness.download.registry import RemoteFile
from benchharness.errors import FetchError
from benchharness.files import file_digest, writable

if TYPE_CHECKING:
    from requests import Response

Progress = Callable[[int, int], None]

_BLOCK_BYTES = 65_536


class UnreachableError(FetchError):
    """No server answered: most likely there is no network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for a server.

    Attributes:
        connect_s: For one of its addresses to accept.
        answer_s: For an answer, names and addresses and redirects included.
        read_s: Between two pieces of the file.
        tries: How often to continue a file that breaks off on the way.
    """

    connect_s: float = 10.0
    answer_s: float = 20.0
    read_s: float = 15.0
    tries: int = 10


class _BrokenOffError(FetchError):
    """The connection ended on the way; what has arrived is kept."""


def download(
    file: RemoteFile, folder: Path, *, timeouts: Timeouts, progress: Progress | None = None
) -> Path:
    """Return the file in a folder of this call alone, downloaded unless it is there already.

    Its addresses are tried in turn. What has arrived when one breaks off is continued by the next,
    or by the next call. Progress is told in bytes there are and bytes in all.

    Raises:
        UnreachableError: No server answers.
        FetchError: No server gives the file as it was published, or the disk does not take it.
    """
    target, partial = folder / file.name, folder / f"{file.name}.partial"
    failures: dict[str, FetchError] = {}
    with writable(folder, what=f"to write {file.name}", error=FetchError):
        folder.mkdir(parents=True, exist_ok=True)
        if target.is_file() and file_digest(target) == file.sha256:
            return target
        for url in file.urls:
            try:
                _Transfer(url, file, partial, timeouts, progress).run()
            except FetchError as error:
                failures[url] = error
            else:
                return partial.replace(target)
    reasons = "; ".join(f"{url}: {error}" for url, error in failures.items())
    is_unreachable = all(isinstance(error, UnreachableError) for error in failures.values())
    raise (UnreachableError if is_unreachable else FetchError)(
        f"{file.name}: expected {file.size_bytes:,} bytes from {file.hosts}, found: {reasons}"
        + ("; try again, what has arrived is kept" if partial.is_file() else "")
    )


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A file on its way from one address; ``partial`` holds what arrived, also from others."""

    url: str
    file: RemoteFile
    partial: Path
    timeouts: Timeouts
    progress: Progress | None

    @property
    def _arrived(self) -> int:
        return self.partial.stat().st_size if self.partial.is_file() else 0

    def run(self) -> None:
        """Fetch what is missing, and check the whole.

        Raises:
            FetchError: The server does not answer, does not have it, or has another file.
            OSError: The disk is full or cannot be written.
        """
        # Where an earlier part was bad, or of another edition, it is fetched once more.
        for _ in range(2 if self._arrived else 1):
            self._fetch()
            if (actual := file_digest(self.partial)) == self.file.sha256:
                return
            self.partial.unlink()
        raise FetchError(f"expected SHA-256 {self.file.sha256}, found {actual}")

    def _fetch(self) -> None:
        for tries_left in reversed(range(self.timeouts.tries)):
            before = self._arrived
            try:
                if self._continue(before):
                    return
            except _BrokenOffError:
                # A server that gives nothing at all will not give more the next time.
                if self._arrived == before or not tries_left:
                    raise
        raise FetchError("the server could not continue the file")

    def _continue(self, start: int) -> bool:
        """Fetch the file from a byte on; False where it must begin again, with nothing kept."""
        size_bytes = self.file.size_bytes
        if start == size_bytes:
            return True
        if start > size_bytes:
            self.partial.unlink()
            return False
        with closing(self._answer(start)) as response:
            status, headers = response.status_code, response.headers
            part, announced = headers.get("Content-Range", ""), headers.get("Content-Length", "")
            is_rest = part.startswith(f"bytes {start}-") and part.endswith(("/*", f"/{size_bytes}"))
            if start and (status == 416 or (status == 206 and not is_rest)):
                self.partial.unlink()
                return False
            done = start if status == 206 else 0
            if status != 200 and not done:
                raise FetchError(f"answered {status} {response.reason}".rstrip())
            if not done and announced.isdigit() and int(announced) != size_bytes:
                raise FetchError(
                    f"expected {size_bytes:,} bytes, found {int(announced):,} announced"
                )
            with self.partial.open("ab" if done else "wb") as file:
                for block in self._blocks(response):
                    done += len(block)
                    if done > size_bytes:
                        break
                    file.write(block)
                    if self.progress is not None:
                        self.progress(done, size_bytes)
        if done > size_bytes:
            self.partial.unlink()
            raise FetchError(f"expected {size_bytes:,} bytes, found more")
        if done < size_bytes:
            raise _BrokenOffError(f"broke off after {done:,} of {size_bytes:,} bytes")
        return True

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
        answer: Future[Response] = Future()

        def ask() -> None:
            timeout = (self.timeouts.connect_s, self.timeouts.read_s)
            try:
                response = requests.get(self.url, headers=headers, stream=True, timeout=timeout)
                answer.set_result(response)
            except Exception as error:
                answer.set_exception(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            return answer.result(timeout=self.timeouts.answer_s)
        except TimeoutError:
            raise UnreachableError(f"no answer within {self.timeouts.answer_s:g} s") from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise UnreachableError(_reason(error)) from error
        except (requests.RequestException, ValueError) as error:
            raise FetchError(f"{type(error).__name__}: {error}") from error

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


def _reason(error: Exception) -> str:
    """Return why there was no connection, without the library's wrappings."""
    inner: object = error.args[0] if error.args else error
    text = str(getattr(inner, "reason", None) or inner)
    # urllib3 begins with the connection's own representation.
    return text.rsplit(": ", 1)[-1] if "Failed to" in text or ">:" in text else text

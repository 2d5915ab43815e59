"""One published file, from the first of its homes that gives it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from benchharness.download.registry import RemoteFile
from benchharness.download.transfer import (
    Progress,
    Timeouts,
    TransferError,
    arrived,
    discard,
    transfer,
)
from benchharness.errors import FetchError
from benchharness.files import ANOTHER_CACHE, unwritten


class UnreachableError(FetchError):
    """No home of a file answered at all: most likely there is no network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloader:
    """What pooch calls to fetch a file, and what it lacks: going on with a part, and a size.

    Attributes:
        partial: Where the file grows, and stays when it breaks off.
    """

    file: RemoteFile
    partial: Path
    patience: Timeouts = field(default_factory=Timeouts)
    progress: Progress | None = None

    def __call__(self, url: str, output_file: str | Path, pooch: object = None) -> None:
        """Fetch the file; ``output_file`` is whole afterwards, but not yet checked."""
        transfer(
            url,
            self.partial,
            size_bytes=self.file.size_bytes,
            patience=self.patience,
            progress=self.progress,
        )
        # If its digest is wrong, pooch throws it away, and nothing is left to be continued.
        self.partial.replace(output_file)
        discard(self.partial)


def download(
    file: RemoteFile,
    folder: Path,
    *,
    patience: Timeouts,
    progress: Progress | None = None,
) -> Path:
    """Return the file in ``folder``, fetched and checked unless it is there already.

    Its homes are tried in turn. What has arrived when one breaks off is continued by the next, or
    by the next call.

    Args:
        file: What to fetch.
        folder: Of this call alone, while it lasts; made where it is missing.
        progress: Called with bytes there are and bytes in all.

    Raises:
        UnreachableError: No home answers.
        FetchError: No home gives the file as it was published, or the disk does not take it.
    """
    downloader = Downloader(
        file=file,
        partial=folder / f"{file.name}.partial",
        patience=patience,
        progress=progress,
    )
    failures: list[tuple[str, TransferError]] = []
    for url in file.urls:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _from(url, folder, downloader)
        except TransferError as error:
            failures.append((url, error))
        except OSError as error:
            raise FetchError(
                f"{folder}: expected to write {file.name}, found: "
                f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
            ) from error
    found = "; ".join(f"{url}: {error}" for url, error in failures)
    is_unreachable = all(error.is_unreachable for _, error in failures)
    raise (UnreachableError if is_unreachable else FetchError)(
        f"{file.name}: expected {file.size_bytes:,} bytes from {file.hosts}, found: {found}"
        + ("; try again, what has arrived is kept" if arrived(downloader.partial) else "")
    )


def _from(url: str, folder: Path, downloader: Downloader) -> Path:
    """Return the file from one home; once anew where an earlier part of it was bad.

    Raises:
        TransferError: It does not give the file as it was published.
    """
    was_begun = arrived(downloader.partial) > 0
    try:
        return _retrieve(url, folder, downloader)
    except ValueError as error:
        if was_begun:
            return _from(url, folder, downloader)
        found = str(error).rsplit("but got ", 1)[-1].partition(". ")[0]
        raise TransferError(f"expected SHA-256 {downloader.file.sha256}, found {found}") from error


def _retrieve(url: str, folder: Path, downloader: Downloader) -> Path:
    """Return the file as pooch gives it: downloaded beside, checked, then moved into place."""
    import pooch

    # It would print on the terminal, which belongs to the command line.
    pooch.get_logger().setLevel(logging.ERROR)
    return Path(
        pooch.retrieve(
            url,
            known_hash=f"sha256:{downloader.file.sha256}",
            fname=downloader.file.name,
            path=folder,
            downloader=downloader,
        )
    )

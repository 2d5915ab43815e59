"""Run folders as somebody sends them: a folder, or a zip of one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchharness.errors import RunError
from benchharness.results.run_folder import RECORDS, RunFolder, find_run

# Of a zip: more than any run has, so that none can fill a disk.
_MOST_FILES, _MOST_BYTES = 100_000, 4 * 2**30


@contextmanager
def open_run(path: Path, results_dir: Path) -> Iterator[RunFolder]:
    """Yield the run that a user means, see ``find_run``; that of a zip is unpacked meanwhile.

    Raises:
        RunError: There is no such run, or not exactly one in the zip.
        FetchError: The zip is damaged, or not to be trusted.
    """
    if path.suffix != ".zip" or not path.is_file():
        yield find_run(path, results_dir)
        return
    # Not at the top: few runs come in a zip.
    from benchharness.download.archive import unpack
    from benchharness.download.registry import ArchiveLimits

    with tempfile.TemporaryDirectory(prefix="benchharness-") as folder:
        target = Path(folder) / path.stem
        target.mkdir()
        limits = ArchiveLimits(wanted="(?s).*", most_files=_MOST_FILES, most_bytes=_MOST_BYTES)
        unpack(path, target, limits=limits)
        runs = sorted(records.parent for records in target.rglob(RECORDS))
        if len(runs) != 1:
            raise RunError(
                f"{path}: expected the folder of one run, with its {RECORDS}, found {len(runs)}; "
                "zip the folder that `benchharness run` has made"
            )
        yield RunFolder.open(runs[0])

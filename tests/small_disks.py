"""Disks that really are full: a small one in memory where mounting is permitted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, *, kilobytes: int) -> Iterator[Path]:
    """Give a folder on a disk of its own, so small that it fills; skip where that is forbidden."""
    place.mkdir()
    options = f"size={kilobytes}k,nr_inodes=1000"
    mount = ["mount", "-t", "tmpfs", "-o", options, "benchharness-test", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a disk is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True)


def fill(disk: Path, *, spare_bytes: int = 0) -> Path:
    """Leave only so many bytes of a disk free, and return the file that takes up the rest."""
    file = disk / "ballast"
    usage = os.statvfs(disk)
    # Others may write meanwhile: then there is less to take.
    with suppress(OSError), file.open("wb", buffering=0) as sink:
        for _ in range(usage.f_bavail - spare_bytes // usage.f_frsize):
            sink.write(bytes(usage.f_frsize))
    return file

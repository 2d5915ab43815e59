"""Manifests: what a folder of downloaded or generated files holds, by digest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchharness.errors import BenchError
from benchharness.files import atomic_dir, build_lock, file_digest, remove_dir, writable

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Contents of a folder: SHA-256 by path below it; its source, and the terms, in words."""

    source: str
    remark: str
    files: Mapping[str, str]


def build_folder(
    folder: Path,
    fill: Callable[[Path], Mapping[str, str]],
    *,
    source: str,
    remark: str,
    what: str,
    error: type[BenchError],
) -> None:
    """Make a folder with its manifest appear, unless it is there and whole.

    Of several processes one builds it. What is damaged stays until there is something in its place,
    unless ``fill`` removes it.

    Args:
        fill: Fills an empty folder, and returns the SHA-256 of its files by path below it.
        what, error: Is expected, and raised, where nothing can be written; as in ``writable``.
    """
    with writable(folder, what=what, error=error):
        # A disk that cannot be written, and so not locked, may still hold what is needed.
        if not any(damages(folder)):
            return
        with build_lock(folder):
            if any(damages(folder)):
                with atomic_dir(folder) as building:
                    manifest = Manifest(source=source, remark=remark, files=fill(building))
                    write_manifest(building, manifest)
                    # Where the disk knows no locks, another may have finished meanwhile.
                    if any(damages(folder)):
                        remove_dir(folder)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write what a folder holds into it."""
    text = json.dumps(asdict(manifest), indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """Return what a folder should hold; None where it has no readable manifest."""
    try:
        return Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def damages(folder: Path) -> Iterator[str]:
    """Yield a line for each file of a folder that is missing or changed."""
    manifest = read_manifest(folder)
    if manifest is None:
        yield f"{folder}: expected a {MANIFEST} that says what is here, found none to read"
        return
    for name, digest in manifest.files.items():
        file = folder / name
        if not file.is_file():
            yield f"{file}: expected a file, found none"
        elif (actual := file_digest(file)) != digest:
            yield f"{file}: expected SHA-256 {digest}, found {actual}"

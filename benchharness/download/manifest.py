"""Manifests: what a folder of downloaded or generated files holds, by digest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchharness.files import file_digest

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Contents of a folder: SHA-256 by path below it; its source, and the terms, in words."""

    source: str
    remark: str
    files: Mapping[str, str]


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

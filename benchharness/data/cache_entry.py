"""One prepared dataset on disk: images.npy, labels.npy and meta.json in a folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchharness.errors import DatasetError
from benchharness.files import ANOTHER_CACHE, file_digest, sync

_FORMAT = 3
_SYNC_BYTES = 16_000_000
IMAGES, LABELS, META = "images.npy", "labels.npy", "meta.json"
REMEDY = "; remove the folder and prepare again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What an entry's arrays are.

    Attributes:
        digest: Identity of the dataset, SHA-256 in hex.
        shape: Of the images: (images, size, size, channels).
        train: How many of them, the first ones, are training images.
        skipped: Ids of images that could not be read; their pixels are black.
        kinds: Ids of images that were special, by the keys of ``model.kinds.WORDS``.
        files: SHA-256 of each array's file, hexadecimal, by name.
    """

    digest: str
    name: str
    classes: tuple[str, ...]
    is_real: bool
    shape: tuple[int, int, int, int]
    train: int
    skipped: tuple[int, ...] = ()
    kinds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """An opened entry.

    Attributes:
        images: uint8, shape ``meta.shape``, a read-only memory map.
        labels: int32, shape (images,).
    """

    folder: Path
    meta: Meta
    images: NDArray[np.uint8]
    labels: NDArray[np.int32]


def open_entry(folder: Path) -> Entry:
    """Open an entry without reading its images.

    Raises:
        DatasetError: It is missing, damaged, or of another version's format.
    """
    try:
        meta = _read_meta(folder / META)
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / LABELS, allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{folder}: expected prepared images, found damage: {error}{REMEDY}"
        ) from error
    found = (images.shape, images.dtype, labels.shape, labels.dtype)
    expected = (meta.shape, np.dtype(np.uint8), meta.shape[:1], np.dtype(np.int32))
    if found != expected:
        raise DatasetError(f"{folder}: expected arrays {expected}, found {found}{REMEDY}")
    return Entry(folder=folder, meta=meta, images=images, labels=labels)


def require_whole(entry: Entry) -> None:
    """Read an entry's arrays once, and hold them against their digests.

    A disk that lies, or a power cut, leaves files of the right length with other content.

    Raises:
        DatasetError: A file is not what was written.
    """
    for name in (IMAGES, LABELS):
        if file_digest(entry.folder / name) != entry.meta.files.get(name):
            raise DatasetError(
                f"{entry.folder / name}: expected the bytes that were written, found others{REMEDY}"
            )


def write_images(
    folder: Path, *, shape: tuple[int, ...], blocks: Iterable[NDArray[np.uint8]]
) -> str:
    """Write ``images.npy`` from consecutive blocks of images, and return its SHA-256.

    Plain writes rather than a writable memory map: on a full disk they fail with an error, where
    a map would end the process with a bus error.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, header)
    digest = hashlib.sha256(start.getbuffer())
    with (folder / IMAGES).open("wb") as file:
        file.write(start.getbuffer())
        waiting = 0
        for block in blocks:
            digest.update(block.data)
            waiting += file.write(block.data)
            # Little by little, while other threads decode; all at the end would be a wait.
            if waiting > _SYNC_BYTES:
                waiting = 0
                os.fsync(file.fileno())
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def write_rest(folder: Path, *, labels: NDArray[np.int32], meta: Meta) -> None:
    """Write the labels and the description, and return when they are on the disk.

    Args:
        folder: The entry's.
        labels: int32, shape (images,).
        meta: ``files`` holds the images' digest; that of the labels is added here.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    np.save(folder / LABELS, labels)
    files = {**meta.files, LABELS: file_digest(folder / LABELS)}
    fields = {"format": _FORMAT, **asdict(meta), "files": files}
    text = json.dumps(fields, indent=1, ensure_ascii=False)
    (folder / META).write_text(text + "\n", encoding="utf-8")
    for path in (folder / LABELS, folder / META, folder):
        sync(path)


def require_space(folder: Path, *, needed: int, what: str = "prepared images") -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: Where the bytes will go; an existing folder.
        needed: Bytes.
        what: They are, in words.

    Raises:
        DatasetError: Fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DatasetError(
            f"{folder}: expected {needed / 1e6:,.1f} MB of free space for {what}, "
            f"found {free / 1e6:,.1f} MB; free some space, or {ANOTHER_CACHE}"
        )


def _read_meta(path: Path) -> Meta:
    fields = json.loads(path.read_text(encoding="utf-8"))
    if fields.pop("format") != _FORMAT:
        raise ValueError("meta.json is of another format")
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    kinds = {kind: tuple(ids) for kind, ids in fields["kinds"].items()}
    return Meta(**{**fields, **lists, "kinds": kinds})

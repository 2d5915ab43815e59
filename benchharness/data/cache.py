"""Cache of prepared images: one folder for each dataset, opened where whole, else built."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchharness.data.listing import Listing, decode
from benchharness.errors import DatasetError
from benchharness.files import (
    atomic_dir,
    build_lock,
    file_digest,
    remove_dir,
    require_free_space,
    sync,
    writable,
)

Progress = Callable[[int, int], None]

_FORMAT = 3
_SYNC_BYTES = 16_000_000
_IMAGES, _LABELS, _META = "images.npy", "labels.npy", "meta.json"
_REMEDY = "; remove the folder and prepare again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """Description of an entry's arrays.

    Attributes:
        digest: Identity of the dataset, SHA-256 in hex.
        shape: Of the images: (images, size, size, channels).
        train: How many of them, the first ones, are training images.
        skipped: Ids of images that could not be read; their pixels are black.
        kinds: Ids of images that were special, by the keys of ``model.conversions.WORDS``.
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
class CacheEntry:
    """Prepared images on disk: images.npy, labels.npy and meta.json in a folder.

    Attributes:
        images: uint8, shape ``meta.shape``, a read-only memory map.
        labels: int32, shape (images,).
        seconds: What decoding took; 0.0 where the entry was there already.
        rebuilt_because: What was wrong with the entry that this one replaces; else empty.
    """

    folder: Path
    meta: Meta
    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    seconds: float = 0.0
    rebuilt_because: str = ""


def entry_folder(cache_dir: Path, digest: str) -> Path:
    """Return the place of a dataset's entry."""
    return cache_dir / "prepared" / digest[:32]


def open_entry(folder: Path) -> CacheEntry:
    """Open an entry without reading its images.

    Raises:
        DatasetError: It is missing, damaged, or of another version's format.
    """
    try:
        meta = _read_meta(folder / _META)
        images = np.load(folder / _IMAGES, mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / _LABELS, allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{folder}: expected prepared images, found damage: {error}{_REMEDY}"
        ) from error
    actual = (images.shape, images.dtype, labels.shape, labels.dtype)
    expected = (meta.shape, np.dtype(np.uint8), meta.shape[:1], np.dtype(np.int32))
    if actual != expected:
        raise DatasetError(f"{folder}: expected arrays {expected}, found {actual}{_REMEDY}")
    return CacheEntry(folder=folder, meta=meta, images=images, labels=labels)


def open_or_build(
    folder: Path,
    listing: Listing,
    *,
    meta: Meta,
    workers: int,
    may_skip: bool,
    progress: Progress | None,
) -> CacheEntry:
    """Return the entry, built unless it is there and every byte of it is as it was written.

    Of several processes that need the same entry one builds it, and the others wait for that.

    Args:
        folder: The entry's place.
        listing: What to decode.
        meta: What the entry is to be; which images are skipped or special is added here.
        workers: Decoding threads.
        may_skip: Whether images that cannot be read are left out.
        progress: Called with images done and images in all.

    Raises:
        DatasetError: An image cannot be read, or the disk is full.
    """
    with writable(folder, what="to write prepared images", error=DatasetError):
        # A cache that cannot be written, and so not locked, may still hold what is needed.
        entry, _ = _open_whole(folder, meta=meta)
        if entry is not None:
            return entry
        with build_lock(folder):
            entry, damage = _open_whole(folder, meta=meta)
            if entry is not None:
                return entry
            if damage:
                remove_dir(folder)
            started = time.perf_counter()
            _build(
                folder, listing, meta=meta, workers=workers, may_skip=may_skip, progress=progress
            )
    seconds = time.perf_counter() - started
    return replace(open_entry(folder), seconds=seconds, rebuilt_because=damage)


def _open_whole(folder: Path, *, meta: Meta) -> tuple[CacheEntry | None, str]:
    """Return the entry if it is whole, else what is wrong with it; empty where there is none.

    Its files are read once: a disk that lies, or a power cut, leaves files of the right length
    with other content.
    """
    # Looked at first: what another process completes from here on is not ours to remove.
    if not folder.exists():
        return None, ""
    try:
        entry = open_entry(folder)
        for name in (_IMAGES, _LABELS):
            if file_digest(folder / name) != entry.meta.files.get(name):
                return None, f"{folder / name}: expected the bytes that were written, found others"
    except DatasetError as error:
        return None, str(error).removesuffix(_REMEDY)
    except OSError as error:
        return None, f"{folder}: expected prepared images, found: {error}"
    if replace(entry.meta, skipped=(), kinds={}, files={}) != meta:
        return None, f"{folder}: expected the images of {meta.digest}, found others"
    return entry, ""


def _build(
    folder: Path,
    listing: Listing,
    *,
    meta: Meta,
    workers: int,
    may_skip: bool,
    progress: Progress | None,
) -> None:
    skipped: dict[int, DatasetError] = {}
    kinds: dict[str, list[int]] = {}

    def blocks() -> Iterator[NDArray[np.uint8]]:
        done, size, channels = 0, meta.shape[1], meta.shape[3]
        for block in decode(listing, size=size, channels=channels, workers=workers):
            if block.failures and not may_skip:
                raise next(iter(block.failures.values()))
            skipped.update(block.failures)
            for image, image_kinds in block.kinds.items():
                for kind in image_kinds:
                    kinds.setdefault(kind, []).append(image)
            done += len(block.pixels)
            if progress is not None:
                progress(done, listing.count)
            yield block.pixels

    with atomic_dir(folder) as building:
        require_free_space(
            building,
            needed=int(np.prod(meta.shape)),
            what="prepared images",
            error=DatasetError,
        )
        images_digest = _write_images(building / _IMAGES, shape=meta.shape, blocks=blocks())
        labels = listing.labels
        _require_each_class(listing, labels, skipped)
        np.save(building / _LABELS, labels)
        complete = replace(
            meta,
            skipped=tuple(skipped),
            kinds={kind: tuple(ids) for kind, ids in kinds.items()},
            files={_IMAGES: images_digest, _LABELS: file_digest(building / _LABELS)},
        )
        text = json.dumps({"format": _FORMAT, **asdict(complete)}, indent=1, ensure_ascii=False)
        (building / _META).write_text(text + "\n", encoding="utf-8")
        for path in (building / _LABELS, building / _META, building):
            sync(path)


def _write_images(
    path: Path, *, shape: tuple[int, ...], blocks: Iterable[NDArray[np.uint8]]
) -> str:
    """Write an array from consecutive blocks of images, and return the file's SHA-256.

    Plain writes rather than a writable memory map: on a full disk they fail with an error, where
    a map would end the process with a bus error.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, header)
    digest = hashlib.sha256(start.getbuffer())
    with path.open("wb") as file:
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


def _require_each_class(
    listing: Listing, labels: NDArray[np.int32], skipped: Mapping[int, DatasetError]
) -> None:
    train = len(listing.train)
    kept = np.setdiff1d(np.arange(len(labels)), np.array(list(skipped), dtype=np.int64))
    for name, part in (("train", kept[kept < train]), ("test", kept[kept >= train])):
        bare = np.setdiff1d(np.arange(len(listing.classes)), labels[part])
        if skipped and len(bare):
            raise DatasetError(
                f"dataset {listing.name}: {name}: expected a readable image of each class, "
                f"found none of {listing.classes[int(bare[0])]}; "
                f"the first of {len(skipped):,}: {next(iter(skipped.values()))}"
            )


def _read_meta(path: Path) -> Meta:
    fields = json.loads(path.read_text(encoding="utf-8"))
    if fields.pop("format") != _FORMAT:
        raise ValueError("meta.json is of another format")
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    kinds = {kind: tuple(ids) for kind, ids in fields["kinds"].items()}
    return Meta(**{**fields, **lists, "kinds": kinds})

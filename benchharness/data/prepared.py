"""Prepared dataset: decoded once, kept in the cache, opened where whole, and read by every backend.

An entry of the cache is a folder with images.npy, labels.npy and meta.json.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchharness.data.batches import split
from benchharness.data.listing import UNREADABLE, Listing, Progress, decode, identify
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

OnBadImage = Literal["error", "skip"]
OnLeak = Literal["warn", "error"]
Leak = tuple[str, str]

_FORMAT = 3
_SYNC_BYTES = 16_000_000
_IMAGES, _LABELS, _META = "images.npy", "labels.npy", "meta.json"
_REMEDY = "; remove the folder and prepare again"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Decoded images with their labels and splits.

    Attributes:
        images: uint8, shape (images, size, size, channels), a read-only memory map. An image's id
            is its position here. An image that was skipped is black and in no split.
        labels: int32, shape (images,).
        splits: Ids, int64, by "train", "validation" and "test"; no id is in two.
        digest: Identity of the content, SHA-256 in hex; the same wherever the files are.
        skipped: Images left out because they could not be read; not known to other processes.
        kinds: Ids of images that were special, by the keys of ``model.image_files.WORDS``.
        folder: The cache entry.
        validation: Share of the training images held out, 0-1.
        seed: Decided which ones.
        seconds: Time spent decoding now; 0.0 when they came from the cache.
        leaks: Images of the test that are for training too, each with its twin.
        rebuilt_because: What was wrong with the cache entry that this one replaces; else empty.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    splits: Mapping[str, NDArray[np.int64]]
    classes: tuple[str, ...]
    digest: str
    kinds: Mapping[str, tuple[int, ...]]
    folder: Path
    validation: float
    seed: int
    skipped: tuple[str, ...] = ()
    seconds: float = 0.0
    leaks: tuple[Leak, ...] = ()
    rebuilt_because: str = ""

    @property
    def majority_share(self) -> float:
        """Share of the test images that are of the largest class of the training images, 0-1.

        Who always guesses that class is right so often.
        """
        counts = np.bincount(self.labels[self.splits["train"]])
        return float((self.labels[self.splits["test"]] == counts.argmax()).mean())

    def class_counts(self) -> dict[str, list[int]]:
        """Return how many images of each class, in the order of ``classes``, each split has."""
        return {
            name: np.bincount(self.labels[ids], minlength=len(self.classes)).tolist()
            for name, ids in self.splits.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """Return what another process on this machine needs to open the same, ready for JSON."""
        return {"folder": str(self.folder), "validation": self.validation, "seed": self.seed}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Prepared:
        """Open what ``as_dict`` describes; a DatasetError where the entry is gone or damaged."""
        folder = Path(fields["folder"])
        return cls._of(_open_entry(folder), **{**fields, "folder": folder})

    @classmethod
    def _of(cls, entry: _Entry, *, validation: float, seed: int, **others: Any) -> Prepared:
        meta, images, labels = entry
        splits = split(
            labels,
            classes=meta.classes,
            train=meta.train,
            skipped=meta.skipped,
            validation=validation,
            seed=seed,
        )
        return cls(
            images=images,
            labels=labels,
            splits=splits,
            classes=meta.classes,
            digest=meta.digest,
            kinds=meta.kinds,
            validation=validation,
            seed=seed,
            **others,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meta:
    """Description of an entry's arrays, ``files`` being the SHA-256 of theirs by name."""

    digest: str
    name: str
    classes: tuple[str, ...]
    is_real: bool
    shape: tuple[int, int, int, int]
    train: int
    skipped: tuple[int, ...] = ()
    kinds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class _Entry(NamedTuple):
    """An entry of the cache, opened: a read-only memory map of its images, and its labels."""

    meta: _Meta
    images: NDArray[np.uint8]
    labels: NDArray[np.int32]


def prepare_images(
    listing: Listing,
    *,
    size: int,
    validation: float,
    seed: int,
    cache_dir: Path,
    workers: int,
    on_bad_image: OnBadImage,
    on_leak: OnLeak = "warn",
    progress: Progress | None = None,
) -> Prepared:
    """Return the listing's images decoded, from the cache where it has them.

    Neither ``validation`` nor ``seed`` decodes anything again.

    Args:
        size: Side of the decoded images, pixels.
        validation: Share of each class of the training images to hold out, 0-1.
        seed: Decides which ones.
        workers: Decoding threads.
        progress: Called with images done and images in all.

    Raises:
        DatasetError: There are too few images, one cannot be read or is not allowed, or the disk is
            full.
    """
    may_skip = on_bad_image == "skip"
    digest, contents = identify(listing, size=size, workers=workers, may_skip=may_skip)
    meta = _Meta(
        digest=digest,
        name=listing.name,
        classes=listing.classes,
        is_real=listing.is_real,
        shape=(listing.count, size, size, listing.channels),
        train=len(listing.train),
    )
    folder, seconds = _entry_folder(cache_dir, digest), 0.0
    with writable(folder, what="to write prepared images", error=DatasetError):
        # A cache that cannot be written, and so not locked, may still hold what is needed.
        entry, damage = _open_whole(folder, meta)
        if entry is None:
            # Of several processes that need the same entry one builds it, the others wait for that.
            with build_lock(folder):
                entry, damage = _open_whole(folder, meta)
                if entry is None:
                    if damage:
                        remove_dir(folder)
                    began = time.perf_counter()
                    _build(folder, listing, meta, workers, may_skip=may_skip, progress=progress)
                    seconds = time.perf_counter() - began
    entry = entry or _open_entry(folder)
    skipped = tuple(map(listing.image_name, entry.meta.skipped))
    if skipped and not may_skip:
        raise DatasetError(
            f"{skipped[0]}: expected a readable image, found one that an earlier run skipped "
            f'({len(skipped)} such in all); repair or remove it, or set on_bad_image = "skip"'
        )
    leaks = _leaks(listing, contents, skipped=entry.meta.skipped)
    if leaks and on_leak == "error":
        test, train = leaks[0]
        raise DatasetError(
            f"{test}: expected a picture that is not for training too, found the bytes of {train} "
            f'({len(leaks)} such in all); remove one of each two, or set on_leak = "warn"'
        )
    return Prepared._of(
        entry,
        folder=folder,
        validation=validation,
        seed=seed,
        skipped=skipped,
        seconds=seconds,
        leaks=leaks,
        rebuilt_because=damage,
    )


def _leaks(
    listing: Listing, contents: Sequence[bytes], *, skipped: Collection[int]
) -> tuple[Leak, ...]:
    """Return the names of test images and of the first training image with the same bytes.

    A picture that was stored again counts as another.
    """
    train = len(listing.train)
    ignored = {UNREADABLE, *(contents[image] for image in skipped)}
    trained: dict[bytes, int] = {}
    for image, content in enumerate(contents[:train]):
        trained.setdefault(content, image)
    return tuple(
        (listing.image_name(image), listing.image_name(trained[content]))
        for image, content in enumerate(contents[train:], start=train)
        if content in trained and content not in ignored
    )


def _entry_folder(cache_dir: Path, digest: str) -> Path:
    return cache_dir / "prepared" / digest[:32]


def _open_entry(folder: Path) -> _Entry:
    """Open an entry without reading its images; a DatasetError where it is missing or damaged."""
    try:
        fields = json.loads((folder / _META).read_text(encoding="utf-8"))
        if fields.pop("format") != _FORMAT:
            raise ValueError("meta.json is of another format")
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        kinds = {kind: tuple(ids) for kind, ids in fields["kinds"].items()}
        meta = _Meta(**{**fields, **lists, "kinds": kinds})
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
    return _Entry(meta, images, labels)


def _open_whole(folder: Path, meta: _Meta) -> tuple[_Entry | None, str]:
    """Return the entry if every byte is as it was written, else what is wrong; empty without one.

    A disk that lies, or a power cut, leaves files of the right length with other content.
    """
    # Looked at first: what another process completes from here on is not ours to remove.
    if not folder.exists():
        return None, ""
    try:
        entry = _open_entry(folder)
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
    meta: _Meta,
    workers: int,
    *,
    may_skip: bool,
    progress: Progress | None,
) -> None:
    skipped: dict[int, DatasetError] = {}
    kinds: dict[str, list[int]] = {}
    with atomic_dir(folder) as building:
        needed = int(np.prod(meta.shape))
        require_free_space(building, needed=needed, what="prepared images", error=DatasetError)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": meta.shape}
        )
        digest = hashlib.sha256(header.getbuffer())
        # Plain writes rather than a writable memory map: on a full disk they fail with an error,
        # where a map would end the process with a bus error.
        with (building / _IMAGES).open("wb") as file:
            waiting = file.write(header.getbuffer())
            # Not under a name, which an error's traceback would keep, and the threads at work.
            for image, (pixels, image_kinds, failure) in enumerate(
                decode(listing, size=meta.shape[1], workers=workers, progress=progress)
            ):
                if failure is not None:
                    if not may_skip:
                        raise failure
                    skipped[image] = failure
                for kind in image_kinds:
                    kinds.setdefault(kind, []).append(image)
                digest.update(pixels.data)
                waiting += file.write(pixels.data)
                # Little by little, while other threads decode; all at the end would be a wait.
                if waiting > _SYNC_BYTES:
                    waiting = 0
                    os.fsync(file.fileno())
        kept = np.setdiff1d(np.arange(listing.count), np.array([*skipped], dtype=np.int64))
        train = len(listing.train)
        for name, part in (("train", kept[kept < train]), ("test", kept[kept >= train])):
            bare = np.setdiff1d(np.arange(len(listing.classes)), listing.labels[part])
            if skipped and len(bare):
                raise DatasetError(
                    f"dataset {listing.name}: {name}: expected a readable image of each class, "
                    f"found none of {listing.classes[int(bare[0])]}; "
                    f"the first of {len(skipped):,}: {next(iter(skipped.values()))}"
                )
        np.save(building / _LABELS, listing.labels)
        files = {_IMAGES: digest.hexdigest(), _LABELS: file_digest(building / _LABELS)}
        fields = {**asdict(meta), "skipped": [*skipped], "kinds": kinds, "files": files}
        text = json.dumps({"format": _FORMAT, **fields}, indent=1, ensure_ascii=False)
        (building / _META).write_text(text + "\n", encoding="utf-8")
        for path in (building / _IMAGES, building / _LABELS, building / _META, building):
            sync(path)


class ImageCheck(NamedTuple):
    """Result of decoding a dataset once more.

    Attributes:
        entry: Place of the images in the cache; None where they are not prepared.
        damages: A line for each image that cannot be read or differs from the cache.
    """

    images: int
    entry: Path | None
    damages: tuple[str, ...]


def check_images(
    listing: Listing,
    *,
    size: int,
    cache_dir: Path,
    workers: int,
    progress: Progress | None = None,
) -> ImageCheck:
    """Decode a listing's images once more, and compare them with the cache."""
    digest, _ = identify(listing, size=size, workers=workers, may_skip=True)
    folder = _entry_folder(cache_dir, digest)
    is_there, entry, damages = folder.exists(), None, list[str]()
    if is_there:
        try:
            entry = _open_entry(folder)
        except DatasetError as error:
            damages.append(str(error))
    for image, (pixels, _, failure) in enumerate(
        decode(listing, size=size, workers=workers, progress=progress)
    ):
        if failure is not None:
            damages.append(str(failure))
        if entry is not None and (entry.images[image] != pixels).any():
            damages.append(
                f"{folder}: expected {listing.image_name(image)} as decoding gives it, "
                f"found other pixels{_REMEDY}"
            )
    if entry is not None and not np.array_equal(entry.labels, listing.labels):
        damages.append(f"{folder}: expected the labels of the images, found others{_REMEDY}")
    return ImageCheck(listing.count, folder if is_there else None, tuple(damages))

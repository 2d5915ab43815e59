"""Preprocessing that is fitted to training images: once, kept by content, read by every worker."""

from __future__ import annotations

import hashlib
import json
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from benchharness.data.prepared import Prepared
from benchharness.data.preprocessing import fit
from benchharness.errors import DatasetError
from benchharness.files import ANOTHER_CACHE, save_arrays, unwritten
from benchharness.model.task import Preprocessing, Whitening

# Of the fitting: another formula makes another file.
_VERSION = 1
_ARRAYS = ("mean", "basis", "gain")


def fitted(name: str, prepared: Prepared) -> Preprocessing:
    """Return the preprocessing of that name, fitted to a dataset's training images.

    What takes long to fit is kept in the cache beside the prepared images, by the digest of images,
    training split and name.

    Raises:
        DatasetError: The name is unknown or does not suit the images.
    """
    file = _file(name, prepared)
    found = _read(file)
    if found is None:
        images = prepared.images
        train = prepared.splits["train"]
        found = fit(name, images=images, ids=train, channels=images.shape[3])
        _write(file, found)
    return found


def _file(name: str, prepared: Prepared) -> Path:
    train = prepared.splits["train"].tobytes()
    facts = [str(_VERSION), name, prepared.digest, hashlib.sha256(train).hexdigest()]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
    return prepared.folder.parent.parent / "fitted" / f"{key}.safetensors"


def _read(file: Path) -> Preprocessing | None:
    """Return what ``_write`` wrote; None where there is nothing, or nothing whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as content:
            facts = json.loads(content.metadata()["facts"])
            has_whitening = set(_ARRAYS) <= set(content.keys())
            arrays = {name: content.get_tensor(name) for name in _ARRAYS if has_whitening}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return Preprocessing(
        name=facts["name"],
        order=tuple(facts["order"]),
        mean=tuple(facts["mean"]),
        scale=tuple(facts["scale"]),
        whitening=Whitening(**arrays) if has_whitening else None,
    )


def _write(file: Path, preprocessing: Preprocessing) -> None:
    whitening = preprocessing.whitening
    arrays = {name: getattr(whitening, name) for name in _ARRAYS} if whitening else {}
    facts = {
        name: value
        for name, value in asdict(preprocessing).items()
        if name in ("name", "order", "mean", "scale")
    }
    partial = file.with_name(f".{file.name}-{uuid.uuid4().hex[:8]}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(partial, arrays, metadata={"facts": json.dumps(facts)})
        partial.replace(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise DatasetError(
            f"{file}: expected to be able to write here, found: "
            f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
        ) from error

"""Fashion-MNIST: 70 000 grey pictures of clothes, 28 x 28, in four IDX files."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Dataset, DatasetError, Images, Pictures, hookimpl
from benchharness.data.sources import SOURCES
from benchharness.download.caches import keras_home

CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_REMEDY = SOURCES["fashion_mnist"].remedy
_SHARED = (Path("/usr/share/datasets/fashion-mnist"), Path("/usr/share/dataset-fashion-mnist"))


@hookimpl
def benchharness_dataset() -> Dataset:
    """Return the dataset: it comes to the core as one of any plugin does."""
    return FashionMnist()


class FashionMnist:
    """The dataset in four IDX files."""

    description = SOURCES["fashion_mnist"].description
    remedy = _REMEDY
    has_files = False

    def places(self, environment: Mapping[str, str]) -> Sequence[Path]:
        """Return the folders where Debian's package and Keras put the files."""
        keras = keras_home(environment)
        return [*_SHARED, keras / "datasets/fashion-mnist"] if keras else _SHARED

    def holds(self, folder: Path) -> bool:
        """Return whether the files are in a folder, or below it in one of the dataset's name."""
        return _home_of(folder) is not None

    def read(self, folder: Path) -> Pictures:
        """Return the dataset in a folder that holds it.

        Raises:
            DatasetError: The files are missing, or not what their headers say.
        """
        home = _home_of(folder)
        if home is None:
            raise DatasetError(
                f"dataset fashion_mnist: expected four IDX files, found none in {folder}; {_REMEDY}"
            )
        return Pictures(
            classes=CLASSES,
            train=_images(home, "train", count=60_000),
            test=_images(home, "t10k", count=10_000),
            channels=1,
            origin=f"IDX files in {home}",
        )


def _home_of(place: Path) -> Path | None:
    # The name as we write it, as Keras does, and as torchvision does.
    names = ("", "fashion_mnist", "fashion-mnist", "FashionMNIST/raw")
    folders = (place / name for name in names)
    return next((folder for folder in folders if _file(folder, "train-images-idx3-ubyte")), None)


def _file(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _images(folder: Path, prefix: str, *, count: int) -> Images:
    images = _values(folder, f"{prefix}-images-idx3-ubyte", magic=0x0803, shape=(count, 28, 28))
    labels = _values(folder, f"{prefix}-labels-idx1-ubyte", magic=0x0801, shape=(count,))
    if labels.max() >= len(CLASSES):
        raise DatasetError(
            f"{folder}: {prefix} labels: expected 0 to 9, found {labels.max()}; {_REMEDY}"
        )
    return Images(array=images, labels=labels.astype(np.int32))


def _values(folder: Path, name: str, *, magic: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the content of an IDX file: a big-endian magic number and sizes, then bytes."""
    path = _file(folder, name)
    if path is None:
        raise DatasetError(f"{folder / name}[.gz]: expected a file, found none; {_REMEDY}")
    header = struct.pack(f">{1 + len(shape)}I", magic, *shape)
    whole = len(header) + int(np.prod(shape))
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            # No archive can fill the memory.
            content = file.read(whole + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{path}: expected a readable file, found: {error}; {_REMEDY}"
        ) from error
    if not content.startswith(header) or len(content) != whole:
        many = "more" if len(content) > whole else f"{len(content)} bytes"
        raise DatasetError(
            f"{path}: expected an IDX file of {' x '.join(map(str, shape))} bytes, "
            f"found {many}, beginning {content[:16].hex() or 'with nothing'}; {_REMEDY}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=len(header)).reshape(shape)

"""The names of the sources, what each is, and what to do where it has nothing.

Needs neither NumPy nor Pillow, so that listing the sources is instant.
"""

from __future__ import annotations

from dataclasses import dataclass

VARIABLE = "BENCHHARNESS_DATA"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """One line about a source, and what to do where it has nothing.

    Attributes:
        remedy: How to make its images available.
    """

    description: str
    remedy: str


_NAME_IT = f"name the folder with --data DIR, [dataset] path, or {VARIABLE}"
_FETCH_IT = "with a network it is downloaded by itself; else"

SOURCES: dict[str, SourceInfo] = {
    "folder": SourceInfo(
        description="class folders of images: train/<class>/*, test/<class>/*, or just <class>/*",
        remedy=_NAME_IT,
    ),
    "flat": SourceInfo(
        description="images named by class in one folder: cat.0.jpg, dog.0.jpg",
        remedy=_NAME_IT,
    ),
    "cats_dogs": SourceInfo(
        description="photographs of cats and dogs (Asirra), in any of their layouts",
        remedy=f"{_FETCH_IT} {_NAME_IT}; it holds train/cats/*.jpg, train/dogs/*.jpg and test "
        "likewise, or cat.0.jpg ... dog.12499.jpg, or PetImages/Cat/0.jpg ...",
    ),
    "fashion_mnist": SourceInfo(
        description="70 000 grey pictures of clothes in ten classes, 28 x 28",
        remedy=f"{_FETCH_IT} apt-get install dataset-fashion-mnist (Debian, Ubuntu), or put "
        f"train-images-idx3-ubyte.gz and its three companions into a folder and {_NAME_IT}",
    ),
    "drawn": SourceInfo(
        description="cats and dogs drawn by benchharness itself; nothing to fetch",
        remedy="nothing is needed",
    ),
}

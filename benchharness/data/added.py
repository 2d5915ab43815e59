"""Datasets that come through the hook: found, read and described by their plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchharness.data.registry import SOURCES, SourceInfo
from benchharness.plugins import extensions, load_extension

if TYPE_CHECKING:
    from benchharness.data.listing import Examples, Listing
    from benchharness.model.extension import Dataset, Images, Pictures


def names() -> list[str]:
    """Return every source that a suite can name; imports none."""
    return list(dict.fromkeys([*SOURCES, *extensions("datasets")]))


def dataset(name: str) -> Dataset | None:
    """Return the dataset of a plugin; None for a source of the core's own.

    Raises:
        PluginError: The plugin cannot be imported.
    """
    if name not in extensions("datasets"):
        return None
    found: Dataset = load_extension("datasets", name)()
    return found


def info(name: str) -> SourceInfo:
    """Return what a source is, and what to do where it has nothing."""
    if name in SOURCES:
        return SOURCES[name]
    found = dataset(name)
    assert found is not None, f"{name} is no source"
    return SourceInfo(description=found.description, remedy=found.remedy)


def listing_of(name: str, pictures: Pictures) -> Listing:
    """Return what a plugin found as the core lists it."""
    from benchharness.data.listing import Listing

    return Listing(
        name=name,
        classes=pictures.classes,
        train=_examples(pictures.train, f"{name} train"),
        test=_examples(pictures.test, f"{name} test"),
        channels=pictures.channels,
        is_real=pictures.is_real,
        origin=pictures.origin,
    )


def _examples(images: Images, source: str) -> Examples:
    from benchharness.data.listing import ArrayExamples, FileExamples

    if images.array is not None:
        return ArrayExamples(images=images.array, labels=images.labels, source=source)
    return FileExamples(paths=tuple(images.files or ()), labels=images.labels)

"""The user's own pictures, in a folder of which no suite knows anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from benchharness.data import flat, folder
from benchharness.data.folders import every_path
from benchharness.data.images import is_image
from benchharness.data.listing import Listing

_NAMED = 5


def own_pictures(path: Path, *, seed: int) -> Listing:
    """Return the pictures of a folder: by class folders, or by the class in the files' names.

    The dataset is called by the folder's name.

    Args:
        path: The folder.
        seed: Draws the test split where class folders have none.

    Raises:
        DatasetError: It is missing, or holds fewer than two classes, or too few of one.
    """
    is_flat = len(folder.classes_in(path)) < 2 and len(flat.index_of(path)) > 1
    listing = flat.flat(path) if is_flat else folder.folder(path, seed=seed)
    return replace(
        listing,
        classes=tuple(map(folder.shown, listing.classes)),
        title=folder.shown(path.resolve().name) or "pictures",
        origin=folder.shown(listing.origin),
        unread=_unread(path, read=set(every_path(listing))),
        is_own=True,
        is_lenient=True,
    )


def _unread(path: Path, *, read: Collection[Path]) -> str:
    """Return in words what lies below ``path``, is not hidden, and was not read."""
    others = [file for file in folder.visible_files(path) if file not in read]
    pictures = [file for file in others if is_image(file)]
    strange = Counter(file.suffix.lower() or "no suffix" for file in others if not is_image(file))
    words = []
    if strange:
        common = ", ".join(suffix for suffix, _ in strange.most_common(_NAMED))
        words.append(f"{strange.total():,} files that are no pictures ({common})")
    if pictures:
        places = dict.fromkeys(str(file.parent.relative_to(path)) for file in pictures)
        where = ", ".join(list(places)[:_NAMED])
        words.append(f"{len(pictures):,} pictures that are in no class (in {where})")
    return folder.shown(", ".join(words))

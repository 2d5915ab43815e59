"""The user's own pictures, in a folder of which no suite knows anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchharness.data.folder import folder
from benchharness.data.layout import shown
from benchharness.data.listing import Listing


def user_images(path: Path, *, seed: int) -> Listing:
    """Return the pictures of a folder: by class folders, or by the class in the files' names.

    The dataset is called by the folder's name.

    Args:
        path: The folder.
        seed: Draws the test split where class folders have none.

    Raises:
        DatasetError: It is missing, or holds fewer than two classes, or too few of one.
    """
    title = shown(path.resolve().name) or "pictures"
    return replace(folder(path, seed=seed), title=title, is_own=True, is_lenient=True)

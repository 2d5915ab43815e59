"""Cache folders: those of frameworks, and ours."""

from __future__ import annotations

import functools
import logging
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchharness.files import expanded
from benchharness.text import escape_control_chars

LOGGER = logging.getLogger(__name__)


def keras_home(environment: Mapping[str, str]) -> Path | None:
    """Return Keras's folder; None where neither it nor the user's home is known.

    Source: Keras 3.15, src/backend/config.py: $KERAS_HOME, else ~/.keras.
    """
    if environment.get("KERAS_HOME"):
        return Path(environment["KERAS_HOME"])
    return Path(environment["HOME"], ".keras") if environment.get("HOME") else None


def torch_checkpoints(environment: Mapping[str, str]) -> Path | None:
    """Return the folder of torch hub's weights; None where none of what names it is set.

    Source: PyTorch 2.15, hub.py: $TORCH_HOME, else torch in $XDG_CACHE_HOME, else in ~/.cache.
    """
    folders = {"TORCH_HOME": "", "XDG_CACHE_HOME": "torch", "HOME": ".cache/torch"}
    for variable, below in folders.items():
        if environment.get(variable):
            return Path(environment[variable], below, "hub/checkpoints")
    return None


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return where prepared images, drawn pictures, features and environments are kept.

    A temporary folder, which is logged, where the user has no home folder or cannot write there.
    """
    if named := environment.get("BENCHHARNESS_CACHE"):
        return expanded(named)
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("benchharness"))
    except RuntimeError:
        # Without a home folder; what older versions of platformdirs return then begins with "~".
        folder = Path("~/.cache/benchharness")
    if not folder.is_absolute():
        return _temporary_cache("no home folder is known") or folder
    there = next(place for place in (folder, *folder.parents) if os.access(place, os.F_OK))
    if os.access(there, os.W_OK | os.X_OK):
        return folder
    return _temporary_cache(f"{there} cannot be written") or folder


@functools.cache
def _temporary_cache(obstacle: str) -> Path | None:
    """Make a folder that nobody else can write, the same for all processes of a user if possible.

    None where nothing can be written at all.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"benchharness-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        if not is_ours or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            # Where everybody writes, anybody may have taken the name.
            folder = Path(tempfile.mkdtemp(prefix="benchharness-"))
    except OSError:
        return None
    LOGGER.warning(
        escape_control_chars(
            f"{obstacle}: downloads and prepared images are kept in {folder} for the time being; "
            "BENCHHARNESS_CACHE names a folder that stays"
        )
    )
    return folder

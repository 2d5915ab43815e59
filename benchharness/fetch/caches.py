"""Where frameworks keep what they have downloaded, and where we do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


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
    if environment.get("TORCH_HOME"):
        home = Path(environment["TORCH_HOME"])
    elif environment.get("XDG_CACHE_HOME"):
        home = Path(environment["XDG_CACHE_HOME"], "torch")
    elif environment.get("HOME"):
        home = Path(environment["HOME"], ".cache/torch")
    else:
        return None
    return home / "hub/checkpoints"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return where prepared images, drawn pictures, features and environments are kept."""
    if environment.get("BENCHHARNESS_CACHE"):
        return Path(environment["BENCHHARNESS_CACHE"])
    import platformdirs

    return Path(platformdirs.user_cache_dir("benchharness"))

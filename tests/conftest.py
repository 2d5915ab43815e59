"""What every test starts from: no network, and no framework's cache of this machine."""

from __future__ import annotations

import os
import tempfile

_EMPTY = tempfile.TemporaryDirectory(prefix="benchharness-tests-")
# Inherited by every process that a test starts; a test of downloads has a server of its own.
os.environ.update(
    BENCHHARNESS_OFFLINE="1",
    KERAS_HOME=f"{_EMPTY.name}/keras",
    TORCH_HOME=f"{_EMPTY.name}/torch",
)

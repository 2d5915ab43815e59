"""Everything a plugin may import from benchharness."""

from __future__ import annotations

import pluggy

from benchharness.errors import PluginError, UnsupportedError
from benchharness.model.network import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Network
from benchharness.model.task import (
    Batch,
    Execution,
    Optimizer,
    Preprocessing,
    Scores,
    Task,
    Warp,
    Whitening,
)
from benchharness.model.work import (
    AfterEpoch,
    AfterStep,
    Backend,
    Batches,
    Extraction,
    Feeding,
    Setting,
    Training,
    Work,
)

hookimpl = pluggy.HookimplMarker("benchharness")

__all__ = [
    "AfterEpoch",
    "AfterStep",
    "Backend",
    "Batch",
    "Batches",
    "Conv",
    "Dense",
    "Dropout",
    "Execution",
    "Extraction",
    "Feeding",
    "Flatten",
    "Layer",
    "MaxPool",
    "Network",
    "Optimizer",
    "PluginError",
    "Preprocessing",
    "Scores",
    "Setting",
    "Task",
    "Training",
    "UnsupportedError",
    "Warp",
    "Whitening",
    "Work",
    "hookimpl",
]

"""Everything a plugin may import from benchharness."""

from __future__ import annotations

import pluggy

from benchharness.errors import PluginError, UnsupportedError
from benchharness.model.network import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Network
from benchharness.model.task import (
    Batch,
    Consumed,
    Execution,
    FileSource,
    Native,
    Optimizer,
    Preprocessing,
    Scores,
    Task,
    Warp,
    Whitening,
    Witness,
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
    "Consumed",
    "Conv",
    "Dense",
    "Dropout",
    "Execution",
    "Extraction",
    "Feeding",
    "FileSource",
    "Flatten",
    "Layer",
    "MaxPool",
    "Native",
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
    "Witness",
    "Work",
    "hookimpl",
]

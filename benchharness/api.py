"""Public interface: everything that a plugin may import from benchharness.

Within a major version nothing here is taken away or changes its meaning; a minor version adds. A
plugin states the version it was written for as ``benchharness_api`` in the module of its entry
point, and a plugin for another version is refused when it is loaded.
"""

from __future__ import annotations

import pluggy

from benchharness.errors import DatasetError, PluginError, UnsupportedError
from benchharness.model.extension import Dataset, Event, Images, Measured, Meter, Observer, Pictures
from benchharness.model.host import HostLedger, preprocess_on_host, warp_on_host
from benchharness.model.network import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Network
from benchharness.model.task import (
    AugmentationParams,
    Batch,
    ConsumedBatches,
    Execution,
    FileSource,
    FingerprintSpec,
    NativeSettings,
    Optimizer,
    Preprocessing,
    Scores,
    Task,
    Whitening,
)
from benchharness.model.work import (
    AfterEpoch,
    AfterStep,
    Backend,
    Batches,
    Extraction,
    Feeding,
    Replayable,
    Setting,
    Training,
    Work,
)

API_VERSION = "1.1"
hookimpl = pluggy.HookimplMarker("benchharness")

__all__ = [
    "API_VERSION",
    "AfterEpoch",
    "AfterStep",
    "AugmentationParams",
    "Backend",
    "Batch",
    "Batches",
    "ConsumedBatches",
    "Conv",
    "Dataset",
    "DatasetError",
    "Dense",
    "Dropout",
    "Event",
    "Execution",
    "Extraction",
    "Feeding",
    "FileSource",
    "FingerprintSpec",
    "Flatten",
    "HostLedger",
    "Images",
    "Layer",
    "MaxPool",
    "Measured",
    "Meter",
    "NativeSettings",
    "Network",
    "Observer",
    "Optimizer",
    "Pictures",
    "PluginError",
    "Preprocessing",
    "Replayable",
    "Scores",
    "Setting",
    "Task",
    "Training",
    "UnsupportedError",
    "Whitening",
    "Work",
    "hookimpl",
    "preprocess_on_host",
    "warp_on_host",
]

"""Runs whose images stay on the device, as they do on a GPU with room for them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from test_run import run

from benchharness.run import session as session_module

pytestmark = pytest.mark.full
BACKENDS = {"torch": "benchharness_torch", "jax": "benchharness_jax"}

SUITE = """
name = "held"
backends = {backends}
trials = 1

[dataset]
source = "drawn"

[defaults]
image_size = 32
train_images = 40
test_images = 8
batch_size = 6
dense = 8
epochs = 2

[[benchmark]]
name = "dataset"
strategy = "dataset"
augmentation = {{ flip_horizontal = true, rotation = 20 }}

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
filters = [2, 3]
augmentation = {{ shear = 0.2, zoom = 0.2 }}

[[benchmark]]
name = "bottleneck"
strategy = "bottleneck"
weights = "random"
"""


def test_images_that_stay_on_the_device_are_those_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of each sampled step the network saw what the core planned; the settings say where from."""
    backends = [name for name, package in BACKENDS.items() if importlib.util.find_spec(package)]
    if not backends:
        pytest.skip("needs a backend that keeps images on the device")
    monkeypatch.setattr(session_module, "resident_bytes", lambda session: 10**9)

    _, records = run(tmp_path, SUITE.format(backends=json.dumps(backends)), proof="no")

    assert len(records) == 3 * len(backends)
    for record in records:
        assert (record["status"], record["reason"]) == ("ok", "")
        assert record["ledger"]["verdict"] == "as planned", record["benchmark"]
        assert record["effective"]["inputs"] == "on the device"

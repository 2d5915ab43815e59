"""Labels that are out of step with their images are flagged, as a published run would have been.

The dataset has the files and sizes of Fashion-MNIST; its pictures are a bright bar whose place
tells the class.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from in_process import workers_here

from benchharness.report.table import plain_text
from benchharness.run.events import unobserved
from benchharness.run.options import RunOptions
from benchharness.run.session import open_session, start_run

SUITE = """
name = "out_of_step"
trials = 1
backends = ["numpy"]

[dataset]
source = "fashion_mnist"

[[benchmark]]
name = "small"
strategy = "simple_cnn"
image_size = 28
train_images = 600
test_images = 300
batch_size = 20
epochs = 3
filters = [2]
dense = 16
dropout = 0.0
optimizer = { name = "adam", lr = 1e-2 }
"""


def write(folder: Path, *, moved: int) -> None:
    """Write the four files; labels of the test set are moved on by some classes."""
    for prefix, count, shift in (("train", 60_000, 0), ("t10k", 10_000, moved)):
        classes = np.arange(count) % 10
        pictures = np.zeros((count, 28, 28), np.uint8)
        for number in range(10):
            pictures[number::10, 2 + 2 * number : 5 + 2 * number] = 200
        labels = ((classes + shift) % 10).astype(np.uint8)
        header = struct.pack(">4I", 0x803, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + pictures.tobytes())
        header = struct.pack(">2I", 0x801, count)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


@pytest.mark.parametrize(("moved", "flags"), [(0, []), (1, ["below_chance"])])
def test_labels_out_of_step_are_flagged_as_below_chance(tmp_path, moved, flags):
    """A test accuracy that no guessing explains is marked in the record and in the table."""
    write(tmp_path, moved=moved)
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE)
    session = open_session(
        RunOptions(suite=suite, data=tmp_path, results=tmp_path / "results", device="cpu"),
        environment=dict(os.environ),
        cache=tmp_path / "cache",
    )

    with workers_here(), start_run(session, unobserved) as runner:
        folder, records = runner.folder, runner.run(unobserved)

    table = plain_text(folder.read_run(), records)
    assert records[0]["flags"] == flags
    assert ("below_chance" in table) == bool(flags)
    assert (records[0]["metrics"]["test_top1"] < 0.03) == bool(moved)

"""Both tracks and both inputs, in both real frameworks: one suite, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from frameworks import require

pytestmark = pytest.mark.full

SUITE = """
name = "tracks"
trials = 1
backends = ["keras", "torch"]
tracks = ["equal", "native"]

[dataset]
source = "drawn"

[defaults]
image_size = 32
train_images = 40
test_images = 8
batch_size = 12
dense = 8
augmentation = { flip_horizontal = true, zoom = 0.2 }

[[benchmark]]
name = "feed"
strategy = "dataset"

[[benchmark]]
name = "small"
strategy = "simple_cnn"
filters = [8]
epochs = 8
dropout = 0.0
preprocessing = "standard"
optimizer = { name = "adam" }

[[benchmark]]
name = "files"
strategy = "simple_cnn"
filters = [4]
epochs = 2
tracks = ["equal"]
input = "files"
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The suite, run once: its folder and what was printed."""
    for name in ("keras", "torch"):
        require(name)
    folder = tmp_path_factory.mktemp("tracks")
    (folder / "tracks.toml").write_text(SUITE)
    ran = subprocess.run(
        [sys.executable, "-m", "benchharness", "run", "tracks.toml", "--device", "cpu"],
        cwd=folder,
        env={**os.environ, "BENCHHARNESS_CACHE": str(folder / "cache"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder / "results/tracks/latest", ran.stdout


@pytest.fixture(scope="module")
def records(done: tuple[Path, str]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The records by benchmark, track and backend."""
    lines = (done[0] / "records.jsonl").read_text().splitlines()
    found = (json.loads(line) for line in lines)
    return {(one["benchmark"], one["track"], one["backend"]): one for one in found}


def test_every_cell_of_both_tracks_is_ok(records):
    """Two benchmarks in two tracks, one in one, on two backends."""
    assert len(records) == 2 * 2 * 2 + 2
    assert {(one["status"], one["reason"]) for one in records.values()} == {("ok", "")}


def test_the_equal_track_is_proven_and_the_native_one_is_not_compared(records):
    """Only settings that are pinned alike can be proven."""
    verdicts = {(track, one["proof"]) for (_, track, _), one in records.items()}

    assert verdicts == {("equal", "proven"), ("native", "not comparable: native track")}


def test_files_in_the_equal_track_are_consumed_as_planned(records):
    """Each backend's own loader, the core's images in the core's order, augmented alike."""
    ledgers = {one["ledger"]["verdict"] for one in records.values()}

    assert ledgers == {"as planned"}


def test_native_settings_are_the_frameworks_own(records):
    """Epsilon, initialiser and loader as each framework's users have them."""
    keras = records["small", "native", "keras"]["effective"]
    torch = records["small", "native", "torch"]["effective"]

    assert (keras["optimizer.epsilon"], torch["optimizer.epsilon"]) == (1e-7, 1e-8)
    assert (keras["optimizer.name"], torch["optimizer.name"]) == ("Adam", "Adam")
    assert keras["initialiser"] == "GlorotUniform"
    assert torch["initialiser"] == "kaiming_uniform"
    assert records["small", "equal", "torch"]["effective"]["initialiser"] == "given"


def test_native_trainings_learn(records):
    """The loss falls from the first epoch to the last."""
    for backend in ("keras", "torch"):
        epochs = records["small", "native", backend]["epochs"]
        assert epochs[-1]["train_loss"] < epochs[0]["train_loss"], backend


def test_every_image_is_seen_in_every_epoch(records):
    """Native loaders take as many images as the plan has."""
    losses = [one["epochs"] for one in records.values() if one["benchmark"] == "small"]

    assert all(len(epochs) == 8 for epochs in losses)
    assert {one["train_count"] for one in records.values()} == {32, 40}


def test_tracks_are_never_mixed_in_a_line(done):
    """The native row stands apart, in the table and in its answer."""
    _, printed = done

    assert "small (native)" in printed
    assert "native track" in printed

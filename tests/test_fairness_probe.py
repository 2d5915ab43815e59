"""Probes are kept on disk, large arrays folded, and nothing is lost that a distance needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchharness.fairness.probe import Probe, fold


def test_small_arrays_are_kept_whole():
    """A thousand values stay a thousand values, flat."""
    values = np.arange(1000, dtype=np.float32).reshape(10, 100)

    assert np.array_equal(fold(values), values.ravel())


def test_folding_keeps_the_distance_of_large_arrays():
    """Three million values in 65,536 sums: the relative distance is the same within 2 %."""
    random = np.random.default_rng(0)
    one = random.normal(size=3_000_000).astype(np.float32)
    other = one + 1e-3 * random.normal(size=one.size).astype(np.float32)

    distance = np.linalg.norm(fold(one) - fold(other)) / np.linalg.norm(fold(one))

    true = np.linalg.norm((one - other).astype(np.float64)) / np.linalg.norm(one)
    assert distance == pytest.approx(true, rel=0.02)


def test_one_wrong_value_in_a_large_array_shows():
    """A fold forgets no place."""
    one = np.ones(2_500_000, np.float32)
    other = one.copy()
    other[2_345_678] += 100

    assert np.linalg.norm(fold(one) - fold(other)) == pytest.approx(100, rel=1e-6)


def test_a_probe_read_is_the_probe_written(tmp_path: Path):
    """Arrays, settings, deviations and depth survive the disk."""
    probe = Probe(
        arrays={"gradients": {"conv/kernel": np.arange(3.0)}, "counts": {"a": np.array([1, 2])}},
        settings={"tf32": False, "threads": 2},
        deviations=("x: 1 instead of 2",),
        is_deep=True,
    )

    probe.write(tmp_path / "probe.safetensors")
    found = Probe.read(tmp_path / "probe.safetensors")

    assert found.settings == probe.settings
    assert found.deviations == probe.deviations
    assert found.is_deep
    assert np.array_equal(found.arrays["gradients"]["conv/kernel"], np.arange(3.0))
    assert found.arrays["counts"]["a"].dtype == np.int64


def test_a_damaged_probe_is_no_probe(tmp_path: Path):
    """A cut file is an error that names it."""
    file = tmp_path / "probe.safetensors"
    Probe(arrays={"a": {"b": np.ones(9)}}, settings={}, deviations=(), is_deep=False).write(file)
    file.write_bytes(file.read_bytes()[:-8])

    with pytest.raises(ValueError, match="expected a probe"):
        Probe.read(file)

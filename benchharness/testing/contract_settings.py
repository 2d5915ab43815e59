"""The contract's part on what a backend says of itself, and on what it cannot do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    Backend,
    Batches,
    Dense,
    Execution,
    Flatten,
    Training,
    UnsupportedError,
    Work,
)
from benchharness.measure.clock import CpuTimer, now_s
from benchharness.measure.machine import usable_cores
from benchharness.testing.compare import (
    LOGITS,
    WEIGHTS,
    assert_equal,
    assert_near_in_norm,
    assert_near_largest,
    assert_same_arrays,
)
from benchharness.testing.skip import Contract
from benchharness.testing.tasks import (
    learn,
    make_batches,
    make_network,
    make_task,
    make_weights,
    small_cnn,
)

# No compiler is faster; tracing alone is done either way.
COMPILING_S = 0.05


# Switches of a framework are often the whole process's, so in these tests one training is over
# and its numbers read before the next is built.
class SettingsContract(Contract):
    """Versions and settings are told; a setting is honoured or refused, never ignored."""

    def test_versions_are_told(self, backend: Backend) -> None:
        """Every version that decides the results has a name and a value."""
        versions = dict(backend.versions())

        assert versions, "versions: expected at least one, found none"
        assert all(name and isinstance(found, str) and found for name, found in versions.items()), (
            f"versions: expected text by distribution name, found {versions}"
        )

    @pytest.mark.parametrize("kind", ["feed", "extract", "train"])
    def test_settings_can_be_recorded(
        self, backend: Backend, execution: Execution, kind: str
    ) -> None:
        """The settings of every kind of work are plain values that JSON gives back unchanged."""
        network = make_network() if kind == "feed" else small_cnn()
        task = make_task(network, execution=execution)
        work: Work = getattr(backend, kind)(task)

        settings = dict(work.settings())

        assert settings, f"settings of {kind}: expected some, found none"
        assert_equal(json.loads(json.dumps(settings)), settings, what="settings read from JSON")

    def test_another_layout_changes_no_number(self, backend: Backend, execution: Execution) -> None:
        """Channels first is how maps lie in memory: the logits stay, or the layout is refused."""
        found = _logits(_train(backend, replace(execution, layout="channels_first")))

        expected = _logits(_train(backend, execution))
        assert_near_largest(found, expected, tolerance=LOGITS, what="logits")

    def test_compiling_changes_no_number(self, backend: Backend, execution: Execution) -> None:
        """Compiled, two steps end where they end otherwise, or compiling is refused."""
        # Batches of one size: a compiler takes tens of seconds for each graph.
        batches = make_batches(sizes=(6, 6))
        # The first training of a process may load what later ones find loaded.
        learn(_train(backend, execution), batches)
        plain = _train(backend, execution)
        plain_s = _learning_s(plain, batches)
        is_always = plain.settings().get("compile") is True
        expected = plain.weights()

        compiled = _train(backend, replace(execution, compile=True))
        compiled_s = _learning_s(compiled, batches)

        what = "weights after training"
        assert_near_in_norm(compiled.weights(), expected, tolerance=WEIGHTS, what=what)
        assert is_always or compiled_s > plain_s + COMPILING_S, (
            f"compile: was asked for, and the first steps took {compiled_s:.2f} s, not longer than "
            f"the {plain_s:.2f} s without: nothing was compiled"
        )

    def test_threads_share_a_long_step(self, backend: Backend, execution: Execution) -> None:
        """Of two threads that were asked for, each does a fair part of a large product."""
        if execution.device != "cpu" or usable_cores() < 2:
            pytest.skip("threads: only seen where a CPU computes, on two cores or more")
        layers = [Dense(name=name, units=1024) for name in ("hidden", "logits")]
        network = make_network(Flatten(name="flatten"), *layers, input_shape=(16, 16, 3))
        batches = make_batches(sizes=(256,) * 2, shape=(16, 16, 3), classes=1024)
        training = backend.train(make_task(network, execution=replace(execution, threads=2)))
        learn(training, batches)
        processor = CpuTimer()

        # Threads are counted in hundredths of a second.
        while max(processor.threads.values(), default=0.0) < 0.3:
            processor.start()
            learn(training, batches)
            training.synchronize()
            processor.stop()

        assert processor.sharing > 1, "threads: two were asked for, and one did all the work"

    def test_bfloat16_is_honoured_or_refused(self, backend: Backend, execution: Execution) -> None:
        """Mixed precision rounds to 8 bits, near float32's logits and not equal to them."""
        found = _logits(_train(backend, replace(execution, precision="bfloat16")))

        expected = _logits(_train(backend, execution))
        assert_near_largest(found, expected, tolerance=0.05, what="logits in bfloat16")
        rounded = float(np.abs(found - expected).max() / np.abs(expected).max())
        assert rounded > 1e-4, "precision: bfloat16 was asked for, and float32 computed"

    def test_bfloat16_keeps_weights_in_float32(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Mixed precision stores weights that bfloat16 could not hold, and hands them out."""
        training = _train(backend, replace(execution, precision="bfloat16"))

        weights = training.weights()

        assert_same_arrays(weights, make_weights(small_cnn()), what="weights in bfloat16")


def _learning_s(training: Training, batches: Batches) -> float:
    """Return the seconds of one epoch."""
    began_s = now_s()
    learn(training, batches)
    training.synchronize()
    return now_s() - began_s


def _train(backend: Backend, execution: Execution) -> Training:
    """Return the training, or skip the test where the backend rightly refuses the setting."""
    try:
        return backend.train(make_task(small_cnn(), execution=execution))
    except UnsupportedError as refusal:
        pytest.skip(f"refused, as the contract allows: {refusal}")


def _logits(training: Training) -> NDArray[np.float32]:
    return training.logits(make_batches()[0])

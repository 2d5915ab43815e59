"""States of Keras's layers are kept as they are, from the warm-up to the timed training."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.full

keras = pytest.importorskip("keras")


@pytest.mark.parametrize("seed", [20261203, 20261204, 2**32 - 1])
def test_seeds_of_dropout_keep_every_bit(seed: int):
    """Float32 takes neighbouring seeds for one, and all trials would draw the same masks."""
    training = pytest.importorskip("benchharness_keras.training")
    state = keras.Variable(np.array([seed, 1], np.uint32), dtype="uint32", trainable=False)

    kept = training.fresh_value(state)

    assert (kept.dtype, kept.tolist()) == (np.dtype(np.uint32), [seed, 1])

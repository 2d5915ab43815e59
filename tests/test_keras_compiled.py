"""What Keras's compilers cannot do is refused with a reason, not tried."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchharness.api import UnsupportedError
from benchharness.testing.tasks import CPU, linear, make_task

pytestmark = pytest.mark.full


def test_augmented_training_under_xla_is_refused_on_tensorflow():
    """TensorFlow's XLA has no kernel that resamples images: the setting and the remedy are told."""
    pytest.importorskip("torch")
    keras_plugin = pytest.importorskip("benchharness_keras.plugin")
    backend = keras_plugin.benchharness_backend(options={})
    task = make_task(linear(), is_augmented=True, execution=replace(CPU, compile=True))

    with pytest.raises(UnsupportedError, match=r"compile: .* leave out compile or augmentation"):
        backend.train(task)

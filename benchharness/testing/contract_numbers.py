"""The contract's part on arithmetic: logits, gradients and updates as the reference has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    Backend,
    Conv,
    Dense,
    Execution,
    Flatten,
    MaxPool,
    Network,
    Optimizer,
    Task,
    Training,
)
from benchharness.model.task import Output
from benchharness.testing.compare import (
    GRADIENTS,
    LOGITS,
    WEIGHTS,
    assert_near_in_norm,
    assert_near_largest,
)
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.skip import Contract
from benchharness.testing.tasks import (
    CPU,
    learn,
    linear,
    make_batches,
    make_network,
    make_task,
    small_cnn,
)

FEATURES_SHAPE = (4, 3, 5)
FLATTEN, LOGIT = Flatten(name="flatten"), Dense(name="logits", units=4)
NETWORKS = {
    "conv_same": make_network(Conv(name="conv", filters=5, padding="same"), FLATTEN, LOGIT),
    "conv_valid": make_network(Conv(name="conv", filters=5, padding="valid"), FLATTEN, LOGIT),
    "conv_linear": make_network(Conv(name="conv", filters=5, activation="linear"), FLATTEN, LOGIT),
    "conv_even_kernel": make_network(
        Conv(name="conv", filters=5, kernel=2, padding="same"), FLATTEN, LOGIT
    ),
    "conv_wide_kernel": make_network(Conv(name="conv", filters=5, kernel=5), FLATTEN, LOGIT),
    "ragged_pool": make_network(MaxPool(name="pool", size=2), FLATTEN, LOGIT),
    "pool_of_three": make_network(MaxPool(name="pool", size=3), FLATTEN, LOGIT),
    "flatten_order": linear(),
    "hidden_dense": make_network(FLATTEN, Dense(name="hidden", units=6, activation="relu"), LOGIT),
    "one_channel": make_network(
        Conv(name="conv", filters=5), FLATTEN, LOGIT, input_shape=(11, 9, 1)
    ),
    "every_layer": small_cnn(dropout=0.5),
}
FEATURE_NETWORKS = {
    "flat": make_network(LOGIT, input_shape=(7,)),
    "maps": linear(input_shape=FEATURES_SHAPE),
    "maps_convolved": make_network(
        Conv(name="conv", filters=5, padding="same"), FLATTEN, LOGIT, input_shape=FEATURES_SHAPE
    ),
}
# No constant is a framework's default, and epsilon is large enough to show where it stands.
RULES = {
    "sgd": Optimizer(name="sgd", lr=0.2),
    "momentum": Optimizer(name="sgd", lr=0.1, momentum=0.8),
    "nesterov": Optimizer(name="sgd", lr=0.1, momentum=0.8, nesterov=True),
    "adam": Optimizer(name="adam", lr=0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
    "rmsprop": Optimizer(name="rmsprop", lr=0.01, rho=0.8, epsilon=1e-3),
}


class NumbersContract(Contract):
    """In float32 without dropout, a backend computes what the reference computes."""

    @pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
    def test_logits_are_the_references(
        self, backend: Backend, execution: Execution, network: Network
    ) -> None:
        """Every layer, read off the logits of images: padding, ragged edges, flatten order."""
        preprocessing = None if network.input_shape[-1] == 1 else make_task(network).preprocessing
        task = make_task(network, preprocessing=preprocessing, execution=execution)
        batch = make_batches(shape=network.input_shape, is_features=preprocessing is None)[0]

        logits = backend.train(task).logits(batch)

        expected = _reference(task).logits(batch)
        assert_near_largest(logits, expected, tolerance=LOGITS, what="logits")

    @pytest.mark.parametrize("network", FEATURE_NETWORKS.values(), ids=FEATURE_NETWORKS)
    def test_logits_of_features_are_the_references(
        self, backend: Backend, execution: Execution, network: Network
    ) -> None:
        """Float features, flat or channels-last maps, enter the network as they come."""
        task = make_task(network, preprocessing=None, execution=execution)
        batch = make_batches(shape=network.input_shape, is_features=True)[0]

        logits = backend.train(task).logits(batch)

        expected = _reference(task).logits(batch)
        assert_near_largest(logits, expected, tolerance=LOGITS, what="logits")

    @pytest.mark.parametrize("layers", [None, ("hidden", "logits"), ("conv_same", "logits")])
    @pytest.mark.parametrize("output", ["softmax", "sigmoid"])
    def test_gradients_are_the_references(
        self,
        backend: Backend,
        execution: Execution,
        output: Output,
        layers: tuple[str, ...] | None,
    ) -> None:
        """The mean loss's gradient of every trainable array, with and without frozen layers."""
        classes = 4 if output == "softmax" else 2
        network = small_cnn(outputs=4 if output == "softmax" else 1, dropout=0.5)
        task = make_task(network, output=output, trainable=layers, execution=execution)
        batch = make_batches(classes=classes)[0]

        gradients = backend.train(task).gradients(batch)

        expected = _reference(task).gradients(batch)
        assert_near_in_norm(gradients, expected, tolerance=GRADIENTS, what="gradient")

    @pytest.mark.parametrize("weight_decay", [0.0, 0.1], ids=["no_decay", "decay"])
    @pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
    def test_optimizers_move_weights_as_the_reference_does(
        self, backend: Backend, execution: Execution, rule: Optimizer, weight_decay: float
    ) -> None:
        """Five steps in three epochs, two of them in one call, end where the reference ends."""
        optimizer = replace(rule, weight_decay=weight_decay)
        task = make_task(small_cnn(), optimizer=optimizer, execution=execution)

        found = _movement(backend.train(task), task)

        expected = _movement(_reference(task), task)
        assert_near_in_norm(found, expected, tolerance=WEIGHTS, what="movement")


def _reference(task: Task) -> Training:
    return NumpyBackend().train(replace(task, execution=CPU))


def _movement(training: Training, task: Task) -> Mapping[str, NDArray[np.float32]]:
    """Return how far five steps move each array: a wrong step cannot hide behind large weights."""
    batches = make_batches(sizes=(6, 6, 6, 6, 3))
    learn(training, batches[:2], batches[2:4])
    learn(training, batches[4:])
    return {name: array - task.weights[name] for name, array in training.weights().items()}

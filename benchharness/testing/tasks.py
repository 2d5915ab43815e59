"""Small tasks and batches, stated in a line, for tests of backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchharness.api import (
    AugmentationParams,
    Batch,
    Batches,
    Conv,
    Dense,
    Dropout,
    Execution,
    FingerprintSpec,
    Flatten,
    Layer,
    MaxPool,
    Network,
    Optimizer,
    Preprocessing,
    Scores,
    Task,
    Training,
    Whitening,
)
from benchharness.model.network import Shape
from benchharness.model.task import Output

CPU = Execution(device="cpu", threads=1)
SGD = Optimizer(name="sgd", lr=0.1)
# No constant is a framework's default, and epsilon is large enough to show where it stands.
RULES = {
    "sgd": Optimizer(name="sgd", lr=0.2),
    "momentum": Optimizer(name="sgd", lr=0.1, momentum=0.8),
    "nesterov": Optimizer(name="sgd", lr=0.1, momentum=0.8, nesterov=True),
    "adam": Optimizer(name="adam", lr=0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
    "rmsprop": Optimizer(name="rmsprop", lr=0.01, rho=0.8, epsilon=1e-3),
}
ADAM_WITH_DECAY = Optimizer(name="adam", lr=0.02, epsilon=1e-5, weight_decay=0.1)
# Height, width and channels differ, so that no two axes can be exchanged unnoticed.
IMAGE_SHAPE = (11, 9, 3)
CLASSES = 4


def make_network(*layers: Layer, input_shape: Shape = IMAGE_SHAPE) -> Network:
    """Return a network of the given layers."""
    return Network(input_shape=input_shape, layers=layers)


def small_cnn(*, outputs: int = CLASSES, dropout: float = 0.0) -> Network:
    """Return a network with every kind of layer; both poolings drop a ragged edge."""
    return make_network(
        Conv(name="conv_same", filters=5, padding="same"),
        MaxPool(name="pool_1"),
        Conv(name="conv_valid", filters=6, padding="valid"),
        MaxPool(name="pool_2"),
        Flatten(name="flatten"),
        Dense(name="hidden", units=8, activation="relu"),
        *((Dropout(name="dropout", rate=dropout),) if dropout else ()),
        Dense(name="logits", units=outputs),
    )


def linear(*, outputs: int = CLASSES, input_shape: Shape = IMAGE_SHAPE) -> Network:
    """Return one dense layer over all values of an image."""
    layers = Flatten(name="flatten"), Dense(name="logits", units=outputs)
    return make_network(*layers, input_shape=input_shape)


def make_weights(network: Network, *, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return weights that keep activations near 1, with biases that are not zero."""
    random = np.random.default_rng(seed)
    return {
        name: random.normal(
            scale=(2 / parameter.fan_in) ** 0.5 if parameter.fan_in else 0.2, size=parameter.shape
        ).astype(np.float32)
        for name, parameter in network.parameters().items()
    }


def make_preprocessing(name: str, *, shape: Shape = IMAGE_SHAPE) -> Preprocessing:
    """Return the preprocessing of that name, with its amounts.

    The fitted amounts of ``standard`` and ``zca`` are made up: a backend takes them as they come.
    """
    channels = shape[-1]
    order = tuple(range(channels))
    mean, scale = (120.0, 110.0, 100.0)[:channels], (1 / 60.0, 1 / 65.0, 1 / 70.0)[:channels]
    whitening = _make_whitening(shape) if name == "zca" else None
    match name:
        case "unit":
            mean, scale = (0.0,) * channels, (1 / 255,) * channels
        case "imagenet_rgb":
            mean, scale = (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)
        case "caffe_bgr":
            order, mean, scale = (2, 1, 0), (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)
    return Preprocessing(name=name, order=order, mean=mean, scale=scale, whitening=whitening)


def _make_whitening(shape: Shape) -> Whitening:
    """Return a whitening in the span of random orthonormal components."""
    random, components = np.random.default_rng(0), 20
    values = int(np.prod(shape))
    basis, _ = np.linalg.qr(random.normal(size=(values, components)))
    return Whitening(
        mean=random.normal(scale=0.1, size=values).astype(np.float32),
        basis=basis.astype(np.float32),
        gain=random.uniform(0.5, 2.0, components).astype(np.float32),
    )


UNIT = make_preprocessing("unit")


def make_task(
    network: Network,
    *,
    weights: Mapping[str, NDArray[np.float32]] | None = None,
    trainable: Sequence[str] | None = None,
    output: Output = "softmax",
    optimizer: Optimizer | None = SGD,
    preprocessing: Preprocessing | None = UNIT,
    is_augmented: bool = False,
    execution: Execution = CPU,
    seed: int = 7,
    fingerprint_spec: FingerprintSpec | None = None,
) -> Task:
    """Return a task; unless told otherwise every layer learns, by plain SGD."""
    return Task(
        network=network,
        weights=make_weights(network) if weights is None else weights,
        trainable=network.learning_layers() if trainable is None else tuple(trainable),
        output=output,
        optimizer=optimizer,
        preprocessing=preprocessing,
        is_augmented=is_augmented,
        execution=execution,
        seed=seed,
        fingerprint_spec=fingerprint_spec,
    )


def make_fingerprint_spec(
    *, shape: Shape = IMAGE_SHAPE, images: int = 3, steps: Sequence[int] = range(64)
) -> FingerprintSpec:
    """Return a spec whose pattern weighs every value of an input differently.

    Args:
        shape: Of one input.
        images: Recorded of each batch.
        steps: Positions of the sampled steps; unless stated, all of a short epoch.
    """
    pattern = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return FingerprintSpec(pattern=pattern, images=images, steps=tuple(steps))


def make_batches(
    *,
    sizes: Sequence[int] = (6, 6, 4),
    shape: Shape = IMAGE_SHAPE,
    classes: int = CLASSES,
    is_features: bool = False,
    is_augmented: bool = False,
    seed: int = 0,
) -> list[Batch]:
    """Return batches of noise: uint8 images, or float32 features, with random labels."""
    random = np.random.default_rng(seed)
    batches, start = [], 0
    for size in sizes:
        pixels = random.integers(0, 256, (size, *shape))
        features = random.normal(size=(size, *shape))
        labels = random.integers(0, classes, size)
        batches.append(
            Batch(
                ids=np.arange(start, start + size),
                inputs=features.astype(np.float32) if is_features else pixels.astype(np.uint8),
                labels=labels.astype(np.int32),
                warp=make_warp(size, shape=shape, random=random) if is_augmented else None,
            )
        )
        start += size
    return batches


def make_warp(size: int, *, shape: Shape, random: np.random.Generator) -> AugmentationParams:
    """Return a warp that turns, shears, zooms, mirrors and shifts beyond the edges."""
    affine = np.eye(2) + random.uniform(-0.3, 0.3, (size, 2, 2))
    affine[::2, 0] *= -1
    # Shifts about the middle, so that most of each picture stays in sight.
    middle = np.array([shape[1] - 1, shape[0] - 1]) / 2
    shift = middle - affine @ middle + random.uniform(-2, 2, (size, 2))
    return AugmentationParams(
        affine=np.concatenate([affine, shift[:, :, None]], axis=2).astype(np.float32),
        colour=random.uniform(-40, 40, (size, shape[2])).astype(np.float32),
    )


def learn(training: Training, *epochs: Batches) -> list[Scores]:
    """Train for some epochs and return the scores of each."""
    scores: list[Scores] = []
    training.train(epochs, after_step=lambda: None, after_epoch=scores.append)
    return scores


def movement(training: Training, task: Task) -> dict[str, NDArray[np.float32]]:
    """Return how far each array is from the task's initial weights."""
    return {name: array - task.weights[name] for name, array in training.weights().items()}

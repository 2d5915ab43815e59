"""The NumPy reference against finite differences, sums done by hand, and PyTorch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchharness.api import (
    Conv,
    Dense,
    Dropout,
    Execution,
    Flatten,
    Layer,
    MaxPool,
    Optimizer,
    PluginError,
    UnsupportedError,
)
from benchharness.testing.plugin import benchharness_backend
from benchharness.testing.reference import (
    Array,
    NumpyBackend,
    NumpyOptimizer,
    apply_layer,
    backward,
    forward,
    judge_sigmoid,
    judge_softmax,
)
from benchharness.testing.tasks import (
    CPU,
    IMAGE_SHAPE,
    learn,
    make_batches,
    make_network,
    make_task,
    small_cnn,
)

LAYERS = {
    "conv_same": Conv(name="layer", filters=3, padding="same"),
    "conv_valid": Conv(name="layer", filters=3, activation="linear"),
    "conv_even": Conv(name="layer", filters=2, kernel=2, padding="same", activation="linear"),
    "pool": MaxPool(name="layer"),
    "pool_of_three": MaxPool(name="layer", size=3),
    "flatten": Flatten(name="layer"),
    "dropout": Dropout(name="layer", rate=0.4),
    "dense": Dense(name="layer", units=4),
    "dense_relu": Dense(name="layer", units=4, activation="relu"),
}


def slopes(function: Callable[[], float], array: Array) -> Array:
    """Return central differences of ``function`` by every value of ``array``, moved in place."""
    found = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + 1e-6
        above = function()
        array[place] = kept - 1e-6
        found[place] = (above - function()) / 2e-6
        array[place] = kept
    return found


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_the_way_back_through_a_layer_is_its_slope(layer: Layer) -> None:
    """Gradients by inputs and by learnt arrays are what finite differences give."""
    random = np.random.default_rng(0)
    shape = (7,) if isinstance(layer, Dense) else (7, 5, 2)
    inputs = random.normal(size=(2, *shape))
    arrays = {
        f"layer/{part}": random.normal(size=parameter.shape)
        for part, parameter in layer.parameters(shape).items()
    }
    weighing = random.normal(size=(2, *layer.output_shape(shape)))

    def loss() -> float:
        steps = apply_layer(layer, inputs, arrays, random=np.random.default_rng(1))
        return float((steps[-1].output * weighing).sum())

    steps = apply_layer(layer, inputs, arrays, random=np.random.default_rng(1))
    gradient = weighing
    for step in steps[:0:-1]:
        gradient = step.to_inputs(gradient)

    np.testing.assert_allclose(steps[0].to_inputs(gradient), slopes(loss, inputs), atol=1e-7)
    for part, found in steps[0].to_parameters(gradient).items():
        np.testing.assert_allclose(found, slopes(loss, arrays[f"layer/{part}"]), atol=1e-7)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_network_gradients_are_the_slopes_of_the_loss(output: str) -> None:
    """Along a random direction in each array, the evaluated loss rises as the gradient says."""
    network = small_cnn(outputs=4 if output == "softmax" else 1)
    task = make_task(network, output=output)
    batch = make_batches(classes=2)[0]
    training = NumpyBackend().train(task)

    gradients = training.gradients(batch)

    random = np.random.default_rng(2)
    for name, gradient in gradients.items():
        start = task.weights[name]
        step = 1e-4 * random.normal(size=start.shape)
        moved = [(start + step).astype(np.float32), (start - step).astype(np.float32)]
        losses = []
        for array in moved:
            training.load_weights({**task.weights, name: array})
            losses.append(training.evaluate([batch]).loss)
        # The weights were rounded to float32; the step really taken is known exactly.
        taken = moved[0].astype(np.float64) - moved[1]
        assert losses[0] - losses[1] == pytest.approx(float((gradient * taken).sum()), rel=1e-4)


def test_valid_convolution_by_hand() -> None:
    """A kernel of ones adds up each window, and the bias is added once."""
    images = np.arange(9.0).reshape(1, 3, 3, 1)
    layer = Conv(name="layer", filters=1, kernel=2, activation="linear")
    arrays = {"layer/kernel": np.ones((2, 2, 1, 1)), "layer/bias": np.array([0.5])}

    (step,) = apply_layer(layer, images, arrays)

    assert step.output[0, :, :, 0].tolist() == [[8.5, 12.5], [20.5, 24.5]]


def test_same_convolution_does_not_mirror_its_kernel() -> None:
    """A kernel with its one at the right reads the pixel to the right, zero beyond the edge."""
    images = np.arange(9.0).reshape(1, 3, 3, 1)
    kernel = np.zeros((3, 3, 1, 1))
    kernel[1, 2] = 1
    layer = Conv(name="layer", filters=1, padding="same", activation="linear")

    (step,) = apply_layer(layer, images, {"layer/kernel": kernel, "layer/bias": np.zeros(1)})

    assert step.output[0, :, :, 0].tolist() == [[1, 2, 0], [4, 5, 0], [7, 8, 0]]


def test_pooling_drops_a_ragged_edge() -> None:
    """Of five columns the fifth is in no window, however large."""
    images = np.array([[1, 2, 3, 4, 99], [5, 6, 8, 7, 99]], float).reshape(1, 2, 5, 1)

    (step,) = apply_layer(MaxPool(name="layer"), images, {})

    assert step.output.ravel().tolist() == [6, 8]
    back = step.to_inputs(np.array([1.0, 2.0]).reshape(1, 1, 2, 1))
    assert back[0, :, :, 0].tolist() == [[0, 0, 0, 0, 0], [0, 1, 2, 0, 0]]


def test_dropout_keeps_the_expected_value() -> None:
    """At rate 0.25 three quarters remain, scaled up by 4/3; outside training all remain."""
    ones, layer = np.ones((100, 100)), Dropout(name="layer", rate=0.25)

    (step,) = apply_layer(layer, ones, {}, random=np.random.default_rng(0))

    assert set(np.unique(step.output)) == {0, 1 / 0.75}
    assert step.output.mean() == pytest.approx(1, abs=0.02)
    assert apply_layer(layer, ones, {}) == ()


def test_losses_by_hand() -> None:
    """Equal logits cost log 2; a logit of log 3 for the right class costs log 4/3."""
    labels = np.array([0, 1], np.int32)

    softmax = judge_softmax(np.array([[0.0, 0.0], [0.0, np.log(3)]]), labels)
    sigmoid = judge_sigmoid(np.array([[0.0], [np.log(3)]]), labels)

    assert softmax.losses == pytest.approx([np.log(2), np.log(4 / 3)])
    assert sigmoid.losses == pytest.approx([np.log(2), np.log(4 / 3)])
    assert softmax.gradient == pytest.approx(np.array([[-0.25, 0.25], [0.125, -0.125]]))
    assert sigmoid.gradient == pytest.approx(np.array([[0.25], [-0.125]]))


@pytest.mark.filterwarnings("error")
def test_losses_of_huge_logits_are_finite() -> None:
    """A logit of 10 000 for the wrong class costs 10 000, without an overflow on the way."""
    labels = np.array([1], np.int32)

    softmax = judge_softmax(np.array([[1e4, 0.0]]), labels)
    sigmoid = judge_sigmoid(np.array([[-1e4]]), labels)

    assert softmax.losses.tolist() == sigmoid.losses.tolist() == [1e4]
    assert np.isfinite(softmax.gradient).all() and np.isfinite(sigmoid.gradient).all()


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (Optimizer(name="sgd", lr=0.1), [0.9, 0.7]),
        (Optimizer(name="sgd", lr=0.1, weight_decay=0.5), [0.85, 0.6075]),
        # v = 1, then 0.5 + 2 = 2.5.
        (Optimizer(name="sgd", lr=0.1, momentum=0.5), [0.9, 0.65]),
        # g + 0.5 v = 1.5, then 2 + 1.25 = 3.25.
        (Optimizer(name="sgd", lr=0.1, momentum=0.5, nesterov=True), [0.85, 0.525]),
        # m = 0.5, 1.25 over 0.5, 0.75; s = 0.25, 1.1875 over 0.25, 0.4375.
        (
            Optimizer(name="adam", lr=0.1, beta_1=0.5, beta_2=0.75, epsilon=1.0),
            [0.95, 0.95 - 0.1 * (1.25 / 0.75) / ((1.1875 / 0.4375) ** 0.5 + 1)],
        ),
        # s = 0.25, then 0.1875 + 1 = 1.1875.
        (
            Optimizer(name="rmsprop", lr=0.1, rho=0.75, epsilon=1.0),
            [1 - 0.1 / 1.5, 1 - 0.1 / 1.5 - 0.2 / (1.1875**0.5 + 1)],
        ),
    ],
)
def test_two_steps_of_each_rule_by_hand(optimizer: Optimizer, expected: list[float]) -> None:
    """From 1, with gradient 1 and then 2, each formula goes where pencil and paper go."""
    arrays, rule, found = {"p": np.ones(1)}, NumpyOptimizer(optimizer), []

    for gradient in (1.0, 2.0):
        rule.apply(arrays, {"p": np.full(1, gradient)})
        found.append(float(arrays["p"][0]))

    assert found == pytest.approx(expected, rel=1e-12)


def test_nothing_below_the_lowest_trainable_layer_is_computed() -> None:
    """With only the head trainable, no layer is asked for the gradient of its inputs."""
    task, images = make_task(small_cnn()), make_batches()[0].inputs / 255

    def refuse(gradient: Array) -> Array:
        raise AssertionError("asked to go further back")

    tape = [
        (name, replace(step, to_inputs=refuse))
        for name, step in forward(task.network, images, task.weights)
    ]
    gradients = backward(tape, np.ones((len(images), 4)), trainable=("logits",))

    assert set(gradients) == {"logits/kernel", "logits/bias"}


def test_float32_is_near_float64() -> None:
    """The dtype option changes the rounding, and nothing else."""
    task, batches = make_task(small_cnn()), make_batches()

    exact = learn(NumpyBackend().train(task), batches)[0]
    rounded = learn(NumpyBackend(dtype="float32").train(task), batches)[0]

    assert rounded.loss == pytest.approx(exact.loss, rel=1e-5)
    assert rounded.loss != exact.loss


def test_learning_lowers_the_loss() -> None:
    """A hundred epochs with Adam learn most of eight pictures of noise by heart."""
    rule = Optimizer(name="adam", lr=0.01)
    epochs = [make_batches(sizes=(4, 4))] * 100

    scores = learn(NumpyBackend().train(make_task(small_cnn(), optimizer=rule)), *epochs)

    assert scores[-1].loss < 0.3 * scores[0].loss
    assert scores[-1].top1 > 0.8


@pytest.mark.parametrize(
    "execution",
    [
        replace(CPU, device="gpu"),
        replace(CPU, precision="bfloat16"),
        replace(CPU, precision="tf32"),
        replace(CPU, layout="channels_first"),
        replace(CPU, compile=True),
    ],
)
@pytest.mark.parametrize("kind", ["feed", "extract", "train"])
def test_what_numpy_cannot_do_is_refused(execution: Execution, kind: str) -> None:
    """Every kind of work refuses another device, precision, layout, or a compiler."""
    task = make_task(small_cnn(), execution=execution)

    with pytest.raises(UnsupportedError, match=r"numpy: .*expected .*, found"):
        getattr(NumpyBackend(), kind)(task)


def test_weights_of_another_network_are_refused() -> None:
    """Loading a kernel of another shape fails rather than being spread over the old one."""
    training = NumpyBackend().train(make_task(small_cnn()))

    with pytest.raises(ValueError, match="weights: expected"):
        training.load_weights({**training.weights(), "logits/bias": np.zeros(1, np.float32)})


def test_the_plugin_refuses_unknown_options() -> None:
    """Only dtype is an option, and only two of its values."""
    with pytest.raises(PluginError, match="dtipe"):
        benchharness_backend(options={"dtipe": "float32"})
    with pytest.raises(PluginError, match="float16"):
        benchharness_backend(options={"dtype": "float16"})
    settings = benchharness_backend(options={"dtype": "float32"}).train(make_task(small_cnn()))
    assert settings.settings()["dtype"] == "float32"


def test_the_reference_runs_without_pytest() -> None:
    """Loading the plugin imports neither pytest nor the contract, which needs it."""
    code = "import sys, benchharness.testing.plugin; sys.exit('pytest' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=False)

    assert done.returncode == 0


@pytest.mark.full
def test_gradients_are_those_of_torch_autograd() -> None:
    """The same network written out in PyTorch, in float64, has the same logits and gradients."""
    torch = pytest.importorskip("torch")
    task, batch = make_task(small_cnn()), make_batches()[0]
    arrays = {
        name: torch.tensor(array, dtype=torch.float64, requires_grad=True)
        for name, array in task.weights.items()
    }
    training = NumpyBackend().train(task)

    x = torch.tensor(batch.inputs).double().permute(0, 3, 1, 2) / 255
    for name, padding in (("conv_same", 1), ("conv_valid", 0)):
        kernel = arrays[f"{name}/kernel"].permute(3, 2, 0, 1)
        x = torch.conv2d(x, kernel, arrays[f"{name}/bias"], padding=padding).relu()
        x = torch.max_pool2d(x, 2)
    x = x.permute(0, 2, 3, 1).flatten(1)
    x = (x @ arrays["hidden/kernel"] + arrays["hidden/bias"]).relu()
    logits = x @ arrays["logits/kernel"] + arrays["logits/bias"]
    torch.nn.functional.cross_entropy(logits, torch.tensor(batch.labels).long()).backward()

    np.testing.assert_allclose(training.logits(batch), logits.detach().numpy(), rtol=1e-5)
    for name, gradient in training.gradients(batch).items():
        found = np.linalg.norm(gradient - arrays[name].grad.numpy())
        assert found <= 1e-6 * np.linalg.norm(gradient), name


def test_extraction_gives_what_the_network_sees() -> None:
    """Through one flattening layer come the preprocessed pixels, batch by batch."""
    task = make_task(make_network(Flatten(name="flatten")), optimizer=None)
    batches = make_batches(sizes=(2, 1))

    features = list(NumpyBackend().extract(task).extract(batches))

    assert [part.shape for part in features] == [
        (2, np.prod(IMAGE_SHAPE)),
        (1, np.prod(IMAGE_SHAPE)),
    ]
    np.testing.assert_allclose(features[0], batches[0].inputs.reshape(2, -1) / 255, rtol=1e-6)

"""Steps in PyTorch: what is done once, and that none makes the host wait for a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchharness.api import Execution, Optimizer
from benchharness.testing.tasks import (
    CPU,
    make_batches,
    make_fingerprint_spec,
    make_task,
    small_cnn,
)

pytestmark = pytest.mark.full
torch = pytest.importorskip("torch")
backends = pytest.importorskip("benchharness_torch.training")

# Adam on a CPU reads its count of steps, which on a GPU is on the device.
MOMENTUM = Optimizer(name="sgd", lr=0.01, momentum=0.9)
FROZEN = ("conv_same", "conv_valid")


def trained(device: str, *, precision: str = "float32", is_held: bool = False):
    """Return a training of a small augmented network that has taken a few steps, and its batches.

    Its convolutions are frozen.
    """
    batches = make_batches(is_augmented=True)
    task = make_task(
        small_cnn(dropout=0.5),
        trainable=("hidden", "logits"),
        optimizer=MOMENTUM,
        is_augmented=True,
        execution=Execution(device=device, threads=1, precision=precision),
        fingerprint_spec=make_fingerprint_spec(),
    )
    if is_held:
        task = replace(task, inputs=np.concatenate([batch.inputs for batch in batches]))
        batches = [
            replace(batch, inputs=np.empty((len(batch), 0, 0, 0), np.uint8)) for batch in batches
        ]
    training = backends.TorchBackend().train(task)
    steps(training, batches)()
    return training, batches


def operations(work: Callable[[], None]) -> Counter[str]:
    """Return how often some work calls each of PyTorch's operators."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    return Counter({event.key: event.count for event in profile.key_averages()})


def steps(training, batches, after_step: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """Return what takes a step for each batch, in an epoch."""
    return lambda: training.train([batches], after_step=after_step, after_epoch=lambda scores: None)


@pytest.mark.parametrize("is_held", [False, True], ids=["copied", "held"])
def test_a_step_reads_nothing_back(is_held: bool):
    """Reading scores back is all that an epoch waits for: its loss and its hits."""
    training, batches = trained("cpu", is_held=is_held)
    few = operations(steps(training, batches[:1]))
    many = operations(steps(training, batches[:2] * 4))

    assert few["aten::item"] == many["aten::item"] == 2
    # A mask as an index, whose length the host would have to know.
    assert not {"aten::nonzero", "aten::masked_select"} & many.keys()
    assert many["aten::index_select"] == (8 if is_held else 0)


def test_a_step_takes_few_operations():
    """Each is a kernel on a GPU, and some microseconds of the host.

    Twice as many as today would be a step of another kind.
    """
    training, batches = trained("cpu")
    one, two = (operations(steps(training, batches[:1] * count)) for count in (4, 8))
    a_step = sum((two - one).values()) / 4

    assert a_step < 500


def test_frozen_weights_are_cast_once():
    """In bfloat16, a step casts what it receives and what learns, and no frozen weight."""
    training, batches = trained("cpu", precision="bfloat16")
    weights = dict(training._model.named_parameters())
    plain, _ = trained("cpu")

    assert {weights[f"{name}.weight"].dtype for name in FROZEN} == {torch.bfloat16}
    assert weights["hidden.weight"].dtype == torch.float32
    moved, stated = training.weights(), plain.weights()
    for name in FROZEN:
        np.testing.assert_allclose(moved[f"{name}/kernel"], stated[f"{name}/kernel"], rtol=2**-8)
    assert training.logits(batches[0]).dtype == np.float32


def test_outputs_of_frozen_weights_that_were_cast_once_are_the_same():
    """As of a network whose weights autocast casts in each step."""
    learning = make_task(
        small_cnn(), optimizer=MOMENTUM, execution=replace(CPU, precision="bfloat16")
    )
    frozen = replace(learning, trainable=(), optimizer=None)
    batch = make_batches()[0]
    backend = backends.TorchBackend()
    (once,) = backend.extract(frozen).extract([batch])

    np.testing.assert_array_equal(once, backend.train(learning).logits(batch))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("is_held", [False, True], ids=["copied", "held"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_step_makes_the_host_wait_for_the_gpu(precision: str, is_held: bool):
    """Copies to it, augmentation, the record, both passes and the update."""
    training, batches = trained("gpu", precision=precision, is_held=is_held)
    left = iter(batches[1:])

    def after_step() -> None:
        # The end of an epoch reads its scores back.
        if next(left, None) is None:
            torch.cuda.set_sync_debug_mode("default")

    torch.cuda.set_sync_debug_mode("error")
    try:
        steps(training, batches, after_step)()
    finally:
        torch.cuda.set_sync_debug_mode("default")

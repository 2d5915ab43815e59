"""Steps in JAX: what a call must not do anew."""

from __future__ import annotations

import pytest

from benchharness.testing.tasks import learn, make_batches, make_task, small_cnn

pytestmark = pytest.mark.full
pytest.importorskip("jax")
backends = pytest.importorskip("benchharness_jax.training")


def test_the_description_of_a_network_is_hashed_with_no_step(monkeypatch: pytest.MonkeyPatch):
    """Left to ``jax.jit`` as a static argument, it takes longer than a step of a small network."""
    training = backends.JaxBackend().train(make_task(small_cnn()))
    batches = make_batches(sizes=(6,) * 4)
    learn(training, batches[:1])
    hashed = []
    kind = type(training._graph)
    plain = kind.__hash__

    def counted(graph: object) -> int:
        hashed.append(graph)
        return plain(graph)

    monkeypatch.setattr(kind, "__hash__", counted)
    learn(training, batches)
    assert not hashed
    # As it would be counted.
    hash(training._graph)
    assert hashed

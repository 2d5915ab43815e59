"""On a CPU, a framework built for a GPU is kept from looking for one."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize("plugin", ["benchharness_jax", "benchharness_keras"])
@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"CUDA_VISIBLE_DEVICES": ""}, "cpu"), ({"CUDA_VISIBLE_DEVICES": "GPU-a0"}, None), ({}, None)],
)
def test_jax_is_kept_to_the_cpu_where_the_core_hides_every_gpu(
    plugin: str, environment: dict[str, str], expected: str | None
):
    """JAX for CUDA fails where it sees none; what the user states stays."""
    pytest.importorskip(plugin)

    assert import_module(f"{plugin}.plugin").needed(environment).get("JAX_PLATFORMS") == expected

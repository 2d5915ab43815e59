"""What Keras leaves to its engine: compiling, TF32, determinism and threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Protocol

import keras

from benchharness.api import Setting
from benchharness_keras.compiling import prepare_compiler

# Read by XLA with its first operation.
XLA_DETERMINISM = "--xla_gpu_deterministic_ops=true"


class Engine(Protocol):
    """The switches of one engine; ``settings`` reads them back by the common names."""

    def compiles(self, wanted: bool) -> bool:
        """Return whether Keras is to compile its steps for a task that wants it, or does not.

        Raises:
            PluginError: The engine's compiler is missing.
        """
        ...

    def allow_tf32(self, allowed: bool) -> None:
        """Allow products to round to TF32, or forbid it."""
        ...

    def use_determinism(self, wanted: bool, *, seed: int) -> None:
        """Ask for kernels that give the same bits each time, or stop asking where that is possible.

        Args:
            wanted: Whether the task asks for it.
            seed: Of the generators that nobody should use.
        """
        ...

    def settings(self, *, is_gpu: bool) -> dict[str, Setting]:
        """Return ``tf32``, ``deterministic``, ``threads``, ``autotune`` and its own switches."""
        ...

    def waiter(self, device: str) -> Callable[[], None]:
        """Return what waits for the device of a process that is not ours."""
        ...


class TensorFlow:
    """TensorFlow; its determinism cannot be undone, and forbids random numbers without a seed."""

    def compiles(self, wanted: bool) -> bool:
        """Return what is wanted: a graph otherwise, which XLA leaves alone."""
        return wanted

    def allow_tf32(self, allowed: bool) -> None:
        """Set TensorFlow's switch, which is on unless told otherwise."""
        import tensorflow

        tensorflow.config.experimental.enable_tensor_float_32_execution(allowed)

    def use_determinism(self, wanted: bool, *, seed: int) -> None:
        """Switch it on; kernels that were made before keep what they found then."""
        import tensorflow

        if wanted:
            keras.utils.set_random_seed(seed)
            tensorflow.config.experimental.enable_op_determinism()

    def settings(self, *, is_gpu: bool) -> dict[str, Setting]:
        """Return TensorFlow's switches; zero threads mean one for each core it may use."""
        import tensorflow

        # No public name tells whether determinism is on (TensorFlow 2.21).
        from tensorflow.python.framework.config import is_op_determinism_enabled

        config, threading = tensorflow.config, tensorflow.config.threading
        is_deterministic = is_op_determinism_enabled()
        has_search = os.environ.get("TF_CUDNN_USE_AUTOTUNE", "1") != "0"
        return {
            "threads": threading.get_intra_op_parallelism_threads() or _cores(),
            "inter_op_threads": threading.get_inter_op_parallelism_threads() or _cores(),
            "tf32": config.experimental.tensor_float_32_execution_enabled(),
            "deterministic": is_deterministic,
            "autotune": is_gpu and has_search and not is_deterministic,
        }

    def waiter(self, device: str) -> Callable[[], None]:
        """Return what waits for all devices: TensorFlow has nothing for a single one."""
        import tensorflow

        wait: Callable[[], None] = tensorflow.test.experimental.sync_devices
        return wait


class Jax:
    """JAX; on a CPU it is deterministic as it comes, on a GPU by a flag read at its start."""

    def compiles(self, wanted: bool) -> bool:
        """Return True: nobody trains on JAX without, where each single operation is compiled."""
        return True

    def allow_tf32(self, allowed: bool) -> None:
        """Set the precision of products, which is TF32 on a GPU unless told otherwise."""
        import jax

        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if allowed else "float32")

    def use_determinism(self, wanted: bool, *, seed: int) -> None:
        """Add XLA's flag to the environment."""
        flags = os.environ.get("XLA_FLAGS", "")
        if wanted and XLA_DETERMINISM not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {XLA_DETERMINISM}".strip()

    def settings(self, *, is_gpu: bool) -> dict[str, Setting]:
        """Return JAX's switches; it takes a thread for each core it may use."""
        import jax

        is_flagged = XLA_DETERMINISM in os.environ.get("XLA_FLAGS", "")
        return {
            "threads": _cores(),
            "tf32": jax.config.jax_default_matmul_precision not in ("float32", "highest"),
            "deterministic": is_flagged or not is_gpu,
            "autotune": is_gpu and not is_flagged,
        }

    def waiter(self, device: str) -> Callable[[], None]:
        """Return what waits for every array there is: JAX has nothing that waits for a device."""
        import jax

        return lambda: [array.block_until_ready() for array in jax.live_arrays()] and None


class Torch:
    """PyTorch, switched as in the plugin for PyTorch itself."""

    def compiles(self, wanted: bool) -> bool:
        """Return what is wanted.

        Raises:
            PluginError: torch.compile has no compiler to call.
        """
        import torch

        if wanted:
            # Only a proof asks for determinism, and no proof is timed.
            is_timed = not torch.are_deterministic_algorithms_enabled()
            prepare_compiler(is_gpu=torch.cuda.is_available(), is_timed=is_timed)
        return wanted

    def allow_tf32(self, allowed: bool) -> None:
        """Set the switches for products and for convolutions."""
        import torch

        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed

    def use_determinism(self, wanted: bool, *, seed: int) -> None:
        """Switch it on or off; Keras leaves the search of cuDNN off either way."""
        import torch

        if wanted:
            # cuBLAS reads it with its first product; smaller workspaces would slow a timed trial.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(wanted)
        torch.backends.cudnn.deterministic = wanted

    def settings(self, *, is_gpu: bool) -> dict[str, Setting]:
        """Return PyTorch's switches."""
        import torch

        return {
            "threads": torch.get_num_threads(),
            "inter_op_threads": torch.get_num_interop_threads(),
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "autotune": torch.backends.cudnn.benchmark and is_gpu,
            "mkldnn": torch.backends.mkldnn.enabled,
        }

    def waiter(self, device: str) -> Callable[[], None]:
        """Return what waits for the device."""
        import torch

        if device == "cpu":
            return lambda: None
        return partial(torch.cuda.synchronize, torch.device(device))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


_ENGINES: dict[str, type[Engine]] = {"tensorflow": TensorFlow, "jax": Jax, "torch": Torch}
# Keras reads its engine once, while it is being imported.
ENGINE: Engine = _ENGINES[keras.config.backend()]()

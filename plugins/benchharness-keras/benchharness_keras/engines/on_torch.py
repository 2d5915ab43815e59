"""PyTorch under Keras: steps are eager, or functions for torch.compile."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

import keras
import torch
from keras import ops
from torch.nn import functional

from benchharness.api import Batch, Setting
from benchharness_keras.compiling import prepare_compiler
from benchharness_keras.engines.engine import Arrays, Program, Tensor, named_arrays


class Torch:
    """PyTorch, switched as in the plugin for PyTorch itself."""

    def compiles(self, wanted: bool) -> bool:
        """Return what is wanted.

        Raises:
            PluginError: torch.compile has no compiler to call.
        """
        if wanted:
            # Only a proof asks for determinism, and no proof is timed.
            is_timed = not torch.are_deterministic_algorithms_enabled()
            prepare_compiler(is_gpu=torch.cuda.is_available(), is_timed=is_timed)
        return wanted

    def allow_tf32(self, allowed: bool) -> None:
        """Set the switches for products and for convolutions."""
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed

    def use_determinism(self, wanted: bool, *, seed: int) -> None:
        """Switch it on or off; Keras leaves the search of cuDNN off either way."""
        if wanted:
            # cuBLAS reads it with its first product; smaller workspaces would slow a timed trial.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(wanted)
        torch.backends.cudnn.deterministic = wanted

    def settings(self, *, is_gpu: bool) -> dict[str, Setting]:
        """Return PyTorch's switches."""
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
        if device == "cpu":
            return lambda: None
        return partial(torch.cuda.synchronize, torch.device(device))

    def place(self, batch: Batch) -> tuple[Arrays, Tensor]:
        """Return tensors on the device of Keras."""
        arrays = {name: ops.convert_to_tensor(array) for name, array in named_arrays(batch).items()}
        return arrays, ops.convert_to_tensor(batch.labels)

    def resample(self, images: Tensor, affine: Tensor) -> Tensor:
        """Return what PyTorch's own sampler gives.

        Keras's operation goes through a batch image by image on this engine, ten times as slow
        (Keras 3.15).
        """
        height, width = images.shape[1:3]
        y, x = torch.meshgrid(
            torch.arange(height, device=images.device, dtype=torch.float32),
            torch.arange(width, device=images.device, dtype=torch.float32),
            indexing="ij",
        )
        # Written out, because a product of matrices may round to TF32. grid_sample counts from
        # -1 to 1 over the outer edges of the first and last pixel.
        grid = torch.stack(
            [
                (2 * (a * x + b * y + c) + 1) / size - 1
                for (a, b, c), size in zip(
                    affine[:, :, :, None, None].permute(1, 2, 0, 3, 4), (width, height), strict=True
                )
            ],
            dim=-1,
        )
        sampled = functional.grid_sample(
            images.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False
        )
        return sampled.permute(0, 2, 3, 1)

    def function(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return an eager function that keeps nothing for gradients."""
        return torch.no_grad()(function)

    def forward(self, model: keras.Model, *, is_compiled: bool) -> Callable[[Arrays], Tensor]:
        """Return the model in inference mode."""
        called = torch.compile(model) if is_compiled else model
        return torch.no_grad()(lambda arrays: called(arrays, training=False))

    def gradients(
        self, program: Program, model: keras.Model, arrays: Arrays, labels: Tensor
    ) -> Sequence[Tensor]:
        """Return what backpropagation gives."""
        loss, _ = program.judge(model(arrays, training=False), labels)
        return torch.autograd.grad(loss, [v.value for v in model.trainable_variables])

    def steps(self, program: Program) -> TorchSteps:
        """Return eager steps, of which torch.compile gets the network where it is asked for."""
        return TorchSteps(program)


class TorchSteps:
    """Steps over the variables, which are parameters of PyTorch."""

    def __init__(self, program: Program) -> None:
        self._program = program
        is_compiled = program.is_compiled
        self._learner = torch.compile(program.learner) if is_compiled else program.learner
        self._scorer = torch.compile(program.scorer) if is_compiled else program.scorer
        self._variables = program.learner.trainable_variables

    def learn(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step: forward, backward, and Keras's optimizer."""
        inputs, logits = self._learner(arrays, training=True)
        loss, own = self._program.judge(logits, labels)
        gradients = torch.autograd.grad(loss, [v.value for v in self._variables])
        with torch.no_grad():
            self._program.optimizer.apply(gradients, self._variables)
        return totals + own.detach(), inputs

    @torch.no_grad()
    def score(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> Tensor:
        """Score a batch."""
        return totals + self._program.judge(self._scorer(arrays, training=False), labels)[1]

    def publish(self) -> None:
        """Return at once: the steps write to the variables."""

    def synchronize(self) -> None:
        """Wait for the device of the variables."""
        device = self._variables[0].value.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)


ENGINE = Torch()

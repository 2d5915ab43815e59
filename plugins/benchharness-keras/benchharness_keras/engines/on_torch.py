"""PyTorch under Keras: steps are eager, or functions for torch.compile."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from keras import ops
from numpy.typing import NDArray
from torch.nn import functional

from benchharness.api import PluginError, Setting
from benchharness_keras.engines.engine import Arrays, Engine, Program, Tensor


class Torch(Engine):
    """PyTorch, switched as in the plugin for PyTorch itself."""

    def __init__(self) -> None:
        self._constants: dict[tuple[int, torch.device], tuple[NDArray[np.generic], Tensor]] = {}

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
        if torch.are_deterministic_algorithms_enabled() != wanted:
            # The call imports the compiler, a second of a trial that may need none (PyTorch 2.15).
            torch.use_deterministic_algorithms(wanted)
        torch.backends.cudnn.deterministic = wanted

    def dropout_seed(self, seed: int) -> int | None:
        """Return None: Keras makes a generator for each mask of a seeded layer.

        That takes 0.15 ms, and on a GPU reads the seed back (Keras 3.15).
        """
        return None

    def restart_dropout(self, seed: int) -> None:
        """Seed PyTorch's generators."""
        torch.manual_seed(seed)

    def conv(self, **options: Any) -> keras.Layer:
        """Return a layer whose convolution adds the bias itself."""
        return Convolution(**options)

    def max_pool(self, size: int, *, name: str) -> keras.Layer:
        """Return a layer that leaves feature maps where they lie in memory."""
        return MaxPooling(size, name=name)

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
        return functools.partial(torch.cuda.synchronize, torch.device(device))

    def hold(self, array: NDArray[np.generic]) -> Tensor:
        """Return a tensor on the device of Keras."""
        return torch.tensor(array, device=_device())

    def constant(self, array: NDArray[np.generic], *, like: Tensor) -> Tensor:
        """Return a tensor beside another, copied there once."""
        key = id(array), like.device
        if key not in self._constants:
            # With the array, whose id no other gets as long as it is there.
            self._constants[key] = array, torch.tensor(array, device=like.device)
        return self._constants[key][1]

    def array(self, array: NDArray[np.generic]) -> Tensor:
        """Return a tensor on the device of Keras, without waiting for it.

        CUDA copies in the background from page-locked memory alone.
        """
        tensor, device = torch.from_numpy(array), _device()
        if device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(device, non_blocking=True)

    def resample(self, images: Tensor, affine: Tensor) -> Tensor:
        """Return what PyTorch's own sampler gives.

        Keras's operation goes through a batch image by image on this engine, ten times as slow
        (Keras 3.15).
        """
        columns, rows, per_pixel = _positions(*images.shape[1:3], images.device)
        # Written out, because a product of matrices may round to TF32. Only the last sum is as
        # large as an image.
        along_x = affine[:, :, 0, None] * columns
        along_y = affine[:, :, 1, None] * rows + (
            affine[:, :, 2, None] * per_pixel + (per_pixel / 2 - 1)
        )
        grid = (along_y[:, :, :, None] + along_x[:, :, None, :]).permute(0, 2, 3, 1)
        sampled = functional.grid_sample(
            images.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False
        )
        return sampled.permute(0, 2, 3, 1)

    def recolour(self, images: Tensor, colour: Tensor) -> Tensor:
        """Return the images' own memory: operations of Keras take 15 us of Python each here."""
        return images.add_(colour[:, None, None, :]).clamp_(0, 255)

    def normalise(
        self, images: Tensor, scale: tuple[float, ...], shift: tuple[float, ...]
    ) -> Tensor:
        """Return what a single operation gives, with constants as large as an image.

        PyTorch takes several times as long where values repeat along the innermost axis.
        """
        planes = images.float().permute(0, 3, 1, 2)
        is_last = planes.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_last else torch.contiguous_format
        shifts, scales = (
            _plane(values, tuple(planes.shape[2:]), layout, planes.device)
            for values in (shift, scale)
        )
        # The copy to float is nobody else's.
        out = None if images.is_floating_point() else planes
        return torch.addcmul(shifts, planes, scales, out=out).permute(0, 2, 3, 1)

    def function(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return an eager function that keeps nothing for gradients."""
        return torch.no_grad()(function)

    def preparation(self, model: keras.Model) -> Callable[[Arrays], Tensor]:
        """Return eager operations."""
        return self.forward(model, is_compiled=False)

    def forward(self, model: keras.Model, *, is_compiled: bool) -> Callable[[Arrays], Tensor]:
        """Return the model without what gradients need."""
        return torch.no_grad()(_inference(model, is_compiled=is_compiled))

    def gradients(
        self, program: Program, model: keras.Model, arrays: Arrays, labels: Tensor
    ) -> Sequence[Tensor]:
        """Return what backpropagation gives."""
        loss, _ = _judge(program, model(arrays, training=False), labels)
        return torch.autograd.grad(loss, [v.value for v in model.trainable_variables])

    def steps(self, program: Program) -> TorchSteps:
        """Return eager steps, of which torch.compile gets the network where it is asked for."""
        return TorchSteps(program)


def prepare_compiler(*, is_gpu: bool, is_timed: bool) -> None:
    """Make ready for torch.compile in this process: by way of C for a GPU, in C++ for a CPU.

    Its cache is empty where it is timed. Else it keeps what it compiles for later processes, and
    the seconds of a trial would depend on the trials before it.

    Raises:
        PluginError: There is no compiler, or it would lack the headers of this Python.
    """
    variable, usual = ("CC", "gcc") if is_gpu else ("CXX", "g++")
    compiler = os.environ.get(variable, usual)
    if shutil.which(compiler) is None:
        raise PluginError(
            f"compile: torch.compile calls {compiler}, which is not installed; install it, for "
            f"example with: apt install g++, or name another in {variable}, or leave out compile"
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise PluginError(
            f"compile: torch.compile needs the headers of this Python, and {headers} has no "
            "Python.h; install it, for example with: apt install python3-dev, or leave out compile"
        )
    if is_timed:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = _empty_folder()


def _empty_folder() -> str:
    """Return a new folder, which is removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="benchharness-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Convolution(keras.layers.Conv2D):
    """A convolution of stride 1 whose bias is added in the same operation where nothing learns.

    Keras adds it in another pass over the maps: 640 against 554 ms for 20 images of 96 pixels
    through VGG16 on two cores. With gradients the other pass is the faster, 17 against 21 ms for
    a step of a small network (Keras 3.15, PyTorch 2.15).
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Map (batch, height, width, channels) to maps of as many channels as filters."""
        if torch.is_grad_enabled():
            return super().call(inputs)
        kernel = self.kernel.value.permute(3, 2, 0, 1)
        maps = functional.conv2d(
            inputs.permute(0, 3, 1, 2), kernel, self.bias.value, padding=self.padding
        )
        return self.activation(maps.permute(0, 2, 3, 1))


class MaxPooling(keras.layers.MaxPooling2D):
    """Pooling over windows that do not overlap.

    That of Keras copies the maps, and its gradient to another order of memory, which costs the
    layers before it as well: 33 against 20 ms for a step of a small network (Keras 3.15).
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Map (batch, height, width, channels) to fewer pixels; a ragged edge is dropped."""
        maxima = functional.max_pool2d(inputs.permute(0, 3, 1, 2), self.pool_size)
        return maxima.permute(0, 2, 3, 1)


class TorchSteps:
    """Steps over the variables, which are parameters of PyTorch."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._learner = _learner(program)
        self._scorer = _inference(program.scorer, is_compiled=program.is_compiled)
        self._variables = program.learner.trainable_variables
        # Parameters, which keep their identity; asking a variable for its value takes time.
        self._parameters = [variable.value for variable in self._variables]

    def learn(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step: forward, backward, and Keras's optimizer."""
        inputs, logits = self._learner(arrays)
        loss, own = _judge(self._program, logits, labels)
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        with torch.no_grad():
            gradients = [parameter.grad for parameter in self._parameters]
            self._program.optimizer.apply(gradients, self._variables)
        return totals + own.detach(), inputs

    @torch.no_grad()
    def score(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> Tensor:
        """Score a batch."""
        return totals + _judge(self._program, self._scorer(arrays), labels)[1]

    def publish(self) -> None:
        """Return at once: the steps write to the variables."""

    def synchronize(self) -> None:
        """Wait for the device of the variables."""
        device = self._variables[0].value.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)


@functools.cache
def _positions(
    height: int, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what resampling images of a size needs, as the sampler counts positions.

    That is from -1 to 1 over the outer edges of the first and last pixel: a position p in pixels
    is ``2 / size * p + (1 / size - 1)``.

    Returns:
        float32, with the axes of a position, x and y, in front: the factor on positions along the
        width, shape (2, width), on those along the height, (2, height), and on the shift, (2, 1).
    """
    per_pixel = 2 / torch.tensor([[width], [height]], dtype=torch.float32, device=device)
    columns = torch.arange(width, dtype=torch.float32, device=device)
    rows = torch.arange(height, dtype=torch.float32, device=device)
    return per_pixel * columns, per_pixel * rows, per_pixel


@functools.cache
def _plane(
    values: tuple[float, ...],
    size: tuple[int, int],
    layout: torch.memory_format,
    device: torch.device,
) -> torch.Tensor:
    """Return a value per channel as an image of a size, shape (1, channels, height, width)."""
    column = torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    return column.expand(-1, -1, *size).contiguous(memory_format=layout)


@functools.cache
def _device() -> torch.device:
    """Return the device on which Keras puts its tensors."""
    device: torch.device = ops.zeros(()).device
    return device


def _judge(program: Program, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``Program.judge`` does, by functions that are a call each when eager."""
    if program.output == "sigmoid":
        score = logits[:, 0]
        loss = functional.binary_cross_entropy_with_logits(score, labels.float())
        hits = (score > 0) == (labels > 0)
    else:
        loss = functional.cross_entropy(logits, labels.long())
        hits = logits.argmax(1) == labels
    return loss, torch.stack([loss.detach() * len(labels), hits.sum().float()])


def _learner(program: Program) -> Callable[[Arrays], tuple[Tensor, Tensor]]:
    """Return what maps arrays to network inputs and logits, with dropout."""
    if program.is_compiled or _is_mixed():
        # A smaller last batch gets code of its own, and not code for any size.
        model = (
            torch.compile(program.learner, dynamic=False)
            if program.is_compiled
            else program.learner
        )
        return lambda arrays: model(arrays, training=True)
    own = {id(layer) for layer in program.layers}
    chain = _chain(program.learner)
    preparing = [layer for layer in chain if id(layer) not in own]
    layers = [layer for layer in chain if id(layer) in own]

    def learner(arrays: Arrays) -> tuple[Tensor, Tensor]:
        inputs = _called(preparing, _first(arrays), training=True)
        return inputs, _called(layers, inputs, training=True)

    return learner


def _inference(model: keras.Model, *, is_compiled: bool) -> Callable[[Arrays], Tensor]:
    """Return what maps arrays to a model's output, without dropout."""
    if is_compiled or _is_mixed():
        called = torch.compile(model) if is_compiled else model
        return lambda arrays: called(arrays, training=False)
    layers = _chain(model)
    return lambda arrays: _called(layers, _first(arrays), training=False)


def _is_mixed() -> bool:
    """Return whether layers cast what they receive, which only calling the model does."""
    return keras.config.dtype_policy().compute_dtype != "float32"


def _chain(model: keras.Model) -> list[keras.Layer]:
    """Return the layers of a model in their order, without those that change nothing."""
    kinds = keras.layers.InputLayer, keras.layers.Activation
    return [layer for layer in model.layers if not isinstance(layer, kinds)]


def _called(layers: Sequence[keras.Layer], values: Tensor, *, training: bool) -> Tensor:
    """Return the output of a chain of layers, each by its ``call``.

    Calling the model adds 0.1 ms of Python to each layer (Keras 3.15), which on the other engines
    is compiled away.
    """
    for layer in layers:
        if isinstance(layer, keras.layers.Dropout):
            values = layer.call(values, training=training)
        else:
            values = layer.call(values)
    return values


def _first(arrays: Arrays) -> Tensor:
    """Return what the first layer of a chain receives."""
    if "affine" in arrays:
        return [arrays["inputs"], arrays["affine"], arrays["colour"]]
    return arrays["inputs"]


ENGINE = Torch()

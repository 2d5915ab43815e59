"""PyTorch's device, batches on it, image files, and the record of what the network receives."""

from __future__ import annotations

import atexit
import math
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own idiom)
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from benchharness.api import (
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    FingerprintSpec,
    NativeSettings,
    PluginError,
    Preprocessing,
    Setting,
    Task,
    UnsupportedError,
)

# torchvision is imported inside the functions: that takes as long as importing PyTorch, and most
# trials load no files.
if TYPE_CHECKING:
    from torchvision.transforms import v2


def use_device(task: Task) -> torch.device:
    """Set threads, precision and determinism for this process, and return the device.

    Raises:
        UnsupportedError: The device or the precision is not to be had here.
        PluginError: torch.compile has no compiler to call.
    """
    execution = task.execution
    if execution.device == "gpu" and not torch.cuda.is_available():
        raise UnsupportedError(
            f"device: PyTorch {torch.__version__} sees no CUDA device; "
            "install a CUDA build of torch, or run with --device cpu"
        )
    if execution.precision == "tf32" and execution.device == "cpu":
        raise UnsupportedError("precision: tf32 exists on NVIDIA GPUs only")
    if execution.compile:
        is_gpu = execution.device == "gpu"
        prepare_compiler(is_gpu=is_gpu, is_timed=not execution.is_deterministic)
    # Inter-op threads would compete with the arithmetic for the same cores.
    torch.set_num_threads(execution.threads)
    has_tf32 = execution.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = has_tf32
    torch.backends.cudnn.allow_tf32 = has_tf32
    _use_determinism(execution.is_deterministic)
    return torch.device("cuda:0" if execution.device == "gpu" else "cpu")


def synchronize(device: torch.device) -> None:
    """Return when everything handed to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def waiter(device: str) -> Callable[[], None]:
    """Return what waits for the device of a process that is not ours."""
    return partial(synchronize, torch.device(device))


def autocast(task: Task, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which arithmetic is bfloat16 where the task asks for it."""
    # PyTorch's context takes some microseconds even where it changes nothing.
    if task.execution.precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _use_determinism(wanted: bool) -> None:
    if wanted:
        # cuBLAS reads it with its first product; smaller workspaces would slow a timed trial.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != wanted:
        # The call imports the compiler, a second of a trial that may need none (PyTorch 2.15).
        torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    # Input shapes are constant but for an epoch's last batch, so searching once pays; but what
    # wins the search may differ from run to run.
    torch.backends.cudnn.benchmark = not wanted


def device_settings(task: Task, device: torch.device) -> dict[str, Setting]:
    """Return what holds for the whole process."""
    return {
        "engine": "torch",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "inter_op_threads": torch.get_num_interop_threads(),
        "precision": _precision(task, device),
        "tf32": _has_tf32(),
        "layout": task.execution.layout,
        "compile": False,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "autotune": torch.backends.cudnn.benchmark and device.type == "cuda",
        "loader_workers": 0,
        "mkldnn": torch.backends.mkldnn.enabled,
    }


def _precision(task: Task, device: torch.device) -> str:
    with autocast(task, device):
        if torch.is_autocast_enabled(device.type):
            return str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
    return "tf32" if _has_tf32() else "float32"


def _has_tf32() -> bool:
    # Either is enough to round more than float32 does.
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArrays:
    """A batch as a step takes it, on the device.

    Attributes:
        inputs: uint8 images, channels last, or float32 features.
        labels: int64, shape (batch,).
        affine: Of the warp; None for no warp.
        colour: Likewise.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    affine: torch.Tensor | None
    colour: torch.Tensor | None


class ToDevice:
    """Brings batches to the device, where inputs that the task hands over whole stay.

    Nothing waits for a GPU: CUDA copies in the background from page-locked memory alone, which
    PyTorch uses again only once it has been copied.
    """

    def __init__(self, task: Task, *, device: torch.device) -> None:
        self._device = device
        is_held = task.inputs is not None
        self._held = torch.tensor(np.asarray(task.inputs), device=device) if is_held else None
        # Beside the stream of the arithmetic, which a copy of images would hold up.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Batch) -> BatchArrays:
        """Return a batch's arrays on the device."""
        warp = batch.warp
        return BatchArrays(
            inputs=self._inputs(batch),
            labels=self._copy(torch.from_numpy(batch.labels).long()),
            affine=warp and self._copy(torch.from_numpy(warp.affine)),
            colour=warp and self._copy(torch.from_numpy(warp.colour)),
        )

    def _inputs(self, batch: Batch) -> torch.Tensor:
        if self._held is not None and not batch.inputs.size:
            return self._held.index_select(0, self._copy(torch.from_numpy(batch.ids)))
        inputs = torch.from_numpy(batch.inputs)
        if self._stream is None:
            return inputs
        with torch.cuda.stream(self._stream):
            copied = self._copy(inputs)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        # Else its memory would be given away before the arithmetic has read it.
        copied.record_stream(current)
        return copied

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._stream is None:
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


class Inputs:
    """Augments and preprocesses batches in bulk.

    Twin note: eager operations here, in place where they can be; in JAX one compiled function.
    """

    def __init__(self, task: Task, *, device: torch.device) -> None:
        self._is_channels_first = task.execution.layout == "channels_first"
        self._preprocess: Preprocess | None = None
        if task.preprocessing is not None:
            height, width, _ = task.input_shape
            self._positions = pixel_positions(height, width, device=device)
            self._preprocess = Preprocess(
                task.preprocessing, height=height, width=width, device=device
            )

    def __call__(self, batch: BatchArrays) -> torch.Tensor:
        """Return float32 (batch, channels, height, width), or features as they are."""
        preprocess = self._preprocess
        if preprocess is None:
            # Cached activations are images of many channels; plain features are flat.
            return self._arrange(batch.inputs) if batch.inputs.ndim == 4 else batch.inputs
        # From the copy to float on, everything works in place.
        if batch.affine is None:
            images = preprocess.reorder(batch.inputs, axis=3).permute(0, 3, 1, 2).float()
        else:
            images = warp(batch.inputs.permute(0, 3, 1, 2).float(), batch.affine, self._positions)
            images.add_(batch.colour[:, :, None, None]).clamp_(0, 255)
            images = preprocess.reorder(images, axis=1)
        images = preprocess(images)
        return images.contiguous() if self._is_channels_first else images

    def _arrange(self, inputs: torch.Tensor) -> torch.Tensor:
        # NHWC values seen as NCHW are channels-last memory: no copy.
        images = inputs.permute(0, 3, 1, 2)
        return images.contiguous() if self._is_channels_first else images


class Preprocess:
    """``(image[..., order] - mean) * scale``, then whitening where the task states it."""

    def __init__(
        self, stated: Preprocessing, *, height: int, width: int, device: torch.device
    ) -> None:
        is_in_order = list(stated.order) == sorted(stated.order)
        self._order = None if is_in_order else torch.tensor(stated.order, device=device)
        scale = torch.tensor(stated.scale, dtype=torch.float32, device=device)
        shift = -torch.tensor(stated.mean, dtype=torch.float32, device=device) * scale
        # As large as an image, and in both layouts: PyTorch takes several times as long where
        # values repeat along the innermost axis, as those of three channels do.
        self._constants = {
            layout: tuple(
                values.view(1, -1, 1, 1)
                .expand(1, -1, height, width)
                .contiguous(memory_format=layout)
                for values in (shift, scale)
            )
            for layout in (torch.channels_last, torch.contiguous_format)
        }
        self._whitening = stated.whitening and tuple(
            torch.from_numpy(array).to(device)
            for array in (stated.whitening.mean, stated.whitening.basis, stated.whitening.gain)
        )

    def reorder(self, images: torch.Tensor, *, axis: int) -> torch.Tensor:
        """Return images with the channels along an axis in the network's order."""
        return images if self._order is None else images.index_select(axis, self._order)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Map float32 images in the network's order of channels, in their memory."""
        is_last = images.is_contiguous(memory_format=torch.channels_last)
        shift, scale = self._constants[torch.channels_last if is_last else torch.contiguous_format]
        torch.addcmul(shift, images, scale, out=images)
        if self._whitening is None:
            return images
        mean, basis, gain = self._whitening
        flat = images.permute(0, 2, 3, 1).flatten(1) - mean
        white = ((flat @ basis) * gain) @ basis.T
        return white.unflatten(1, (*images.shape[2:], -1)).permute(0, 3, 1, 2)


Positions = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def pixel_positions(height: int, width: int, *, device: torch.device) -> Positions:
    """Return what ``warp`` needs of images of a size.

    ``grid_sample`` counts from -1 to 1 over the outer edges of the first and last pixel: a position
    p in pixels is ``2 / size * p + (1 / size - 1)``.

    Returns:
        float32, with the axes of a position, x and y, in front: the factor on positions along the
        width, shape (2, width), on those along the height, (2, height), and on the shift, (2, 1).
    """
    per_pixel = 2 / torch.tensor([[width], [height]], dtype=torch.float32, device=device)
    columns = torch.arange(width, dtype=torch.float32, device=device)
    rows = torch.arange(height, dtype=torch.float32, device=device)
    return per_pixel * columns, per_pixel * rows, per_pixel


def warp(images: torch.Tensor, affine: torch.Tensor, positions: Positions) -> torch.Tensor:
    """Resample each image by its affine map, bilinear, edge pixels repeated outside.

    Maps have shape (batch, 2, 3), output pixel to input pixel. The result is float32, channels
    first in memory whatever the layout of the images is.
    """
    columns, rows, per_pixel = positions
    # Written out, because a product of matrices may round to TF32, by half a pixel, and is slow
    # where three values are summed. Only the last sum is as large as an image.
    along_x = affine[:, :, 0, None] * columns
    along_y = affine[:, :, 1, None] * rows + (
        affine[:, :, 2, None] * per_pixel + (per_pixel / 2 - 1)
    )
    grid = (along_y[:, :, :, None] + along_x[:, :, None, :]).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class TorchFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: torch.device) -> None:
        self._task = task
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._to_device = ToDevice(task, device=device)
        self._inputs = Inputs(task, device=device)
        self._loader = build_loader(task)
        self._ledger = Ledger(task.fingerprint_spec, device=device)

    @torch.inference_mode()
    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        self._ledger.clear()
        for step, batch in enumerate(self._loader.load(batches) if self._loader else batches):
            arrays = self._to_device(batch)
            self._ledger.write(step, self._inputs(arrays), arrays.labels)
            after_step()

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last call of ``feed``."""
        return self._ledger.consumed()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        settings = device_settings(self._task, self._device)
        return settings | ({"loader_workers": self._loader.workers} if self._loader else {})


class Ledger:
    """The fingerprints and labels of an epoch's sampled steps, kept on the device."""

    def __init__(self, spec: FingerprintSpec | None, *, device: torch.device) -> None:
        self._spec = spec
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._sampled = frozenset(spec.steps if spec else ())
        if spec is not None:
            pattern = torch.from_numpy(spec.pattern).to(device)
            # Images arrive as NCHW, flat features as they are.
            pattern = pattern.permute(2, 0, 1) if pattern.ndim == 3 else pattern
            self._first_rows = partial(first_rows, pattern=pattern, images=spec.images)

    def clear(self) -> None:
        """Forget every step."""
        self._rows.clear()

    def write(self, step: int, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        """Record a step, by its position from 0, if it is sampled; the device is not waited for."""
        if step in self._sampled:
            self._rows.append(self._first_rows(inputs, labels))

    def consumed(self) -> ConsumedBatches:
        """Return the recorded steps in their order, after waiting for the device.

        Raises:
            ValueError: The task has no fingerprint_spec.
        """
        if self._spec is None:
            raise ValueError("task.fingerprint_spec: expected a FingerprintSpec, found None")
        # Stacking nothing is an error, and before the first step there is nothing.
        empty = torch.empty((0, self._spec.images))
        prints = torch.stack([row[0] for row in self._rows]) if self._rows else empty
        labels = torch.stack([row[1] for row in self._rows]) if self._rows else empty
        return ConsumedBatches(
            fingerprints=prints.float().cpu().numpy(),
            labels=labels.to(torch.int32).cpu().numpy(),
        )


def first_rows(
    inputs: torch.Tensor, labels: torch.Tensor, pattern: torch.Tensor, *, images: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the fingerprints and labels of a batch's first images, starting over at its end."""
    rows, seen = inputs[:images], labels[:images]
    if len(labels) < images:
        chosen = torch.arange(images, device=labels.device) % len(labels)
        rows, seen = inputs[chosen], labels[chosen]
    # No product of matrices, which may round to TF32.
    return (rows * pattern).sum(tuple(range(1, rows.ndim))), seen


def build_loader(task: Task) -> FileLoader | FolderLoader | None:
    """Return what loads the task's files; None where its batches bring their images along."""
    if task.files is None:
        return None
    return FolderLoader(task) if task.files.folder else FileLoader(task)


class FileLoader:
    """Loads the files of the core's batches, in the core's order.

    Twin note: batches here, one epoch after another; in Keras a dataset, which ``fit`` wants.
    """

    def __init__(self, task: Task) -> None:
        self._order = CoreOrder()
        self._loader = DataLoader(
            ImageFiles(task),
            batch_sampler=self._order,
            **_workers(task),
        )

    @property
    def workers(self) -> int:
        """Processes that load."""
        return self._loader.num_workers

    def load(self, batches: Batches) -> Iterator[Batch]:
        """Yield the batches with uint8 inputs, shape (batch, height, width, channels)."""
        self._order.batches = batches
        for batch, images in zip(batches, self._loader, strict=True):
            yield replace(batch, inputs=images.numpy())


class FolderLoader:
    """Loads a folder of classes as torchvision's users do, in an order of its own.

    Raises:
        UnsupportedError: torchvision has no augmentation of some kind.
    """

    def __init__(self, task: Task) -> None:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        size, channels = task.input_shape[0], task.input_shape[2]
        grey = [v2.Grayscale()] if channels == 1 else []
        resize = [v2.ToImage(), *grey, v2.Resize((size, size))]
        self._loader = DataLoader(
            ImageFolder(
                task.files.folder,
                transform=v2.Compose([*resize, *augmentations(task.native, size=size)]),
            ),
            batch_size=task.native.batch_size,
            shuffle=True,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(task.seed),
            **_workers(task),
        )

    @property
    def workers(self) -> int:
        """Processes that load."""
        return self._loader.num_workers

    def load(self, batches: Batches) -> Iterator[Batch]:
        """Yield as many batches of as many images as those, without ids (-1) and without warps."""
        for batch, (images, labels) in zip(
            batches, islice(self._loader, len(batches)), strict=True
        ):
            count = len(batch)
            yield Batch(
                ids=np.full(count, -1),
                inputs=images[:count].permute(0, 2, 3, 1).numpy(),
                labels=labels[:count].int().numpy(),
            )


def augmentations(native: NativeSettings, *, size: int) -> list[v2.Transform]:
    """Return torchvision's transforms of the stated kinds, their other options untouched.

    Raises:
        UnsupportedError: torchvision has none of some kind.
    """
    from torchvision.transforms import v2

    amounts = native.augmentation
    if "channel_shift" in amounts:
        raise UnsupportedError(
            "augmentation: torchvision has no channel shift; leave channel_shift out, "
            'or set input = "prepared"'
        )
    transforms: list[v2.Transform] = []
    if "crop" in amounts:
        smallest = (1 - amounts["crop"]) ** 2
        transforms.append(v2.RandomResizedCrop(size, scale=(smallest, 1), ratio=(1, 1)))
    if amounts.keys() & {"shift", "rotation", "shear", "zoom"}:
        transforms.append(_affine(amounts))
    if "flip_horizontal" in amounts:
        transforms.append(v2.RandomHorizontalFlip())
    if "flip_vertical" in amounts:
        transforms.append(v2.RandomVerticalFlip())
    return transforms


class ImageFiles(Dataset):
    """The images of a task's files, by id; the pixels of the prepared images, within a level."""

    def __init__(self, task: Task) -> None:
        from torchvision.io import ImageReadMode

        self._paths = task.files.paths
        self._size = list(task.input_shape[:2])
        self._mode = ImageReadMode.GRAY if task.input_shape[2] == 1 else ImageReadMode.RGB

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._paths)

    def __getitem__(self, image: int) -> torch.Tensor:
        """Return uint8, shape (height, width, channels)."""
        from torchvision.io import decode_image
        from torchvision.transforms.v2 import functional

        pixels = decode_image(self._paths[image], mode=self._mode)
        resized = functional.resize(pixels, self._size, antialias=True)
        return resized.permute(1, 2, 0).contiguous()


def collate(rows: list[tuple[torch.Tensor, int]]) -> list[torch.Tensor]:
    """Return a batch's images and labels, both in shared memory.

    As the default, which leaves labels to a thread that hands them over: where shared memory is
    full, that thread fails unheard, and the trial would wait for ever.
    """
    return [part.share_memory_() for part in default_collate(rows)]


class CoreOrder(Sampler[Sequence[int]]):
    """The ids of each batch of an epoch, which is given anew before each."""

    batches: Batches = ()

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the ids of each batch."""
        for batch in self.batches:
            yield batch.ids.tolist()

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)


def _affine(amounts: Mapping[str, float]) -> v2.RandomAffine:
    from torchvision.transforms import v2

    shift, zoom = amounts.get("shift"), amounts.get("zoom")
    shear = amounts.get("shear")
    return v2.RandomAffine(
        degrees=amounts.get("rotation", 0),
        translate=(shift, shift) if shift else None,
        scale=(1 - zoom, 1 + zoom) if zoom else None,
        # Stated as a tangent, wanted in degrees.
        shear=math.degrees(math.atan(shear)) if shear else None,
    )


def _workers(task: Task) -> dict[str, object]:
    """Return what the loaders share: one process for each core that the task may use."""
    return {
        "num_workers": task.execution.threads,
        # Starting processes anew for each epoch would be timed along with it.
        "persistent_workers": True,
        "pin_memory": task.execution.device == "gpu",
    }

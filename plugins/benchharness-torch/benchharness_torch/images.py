"""Path from a batch's uint8 images to the network's inputs, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own idiom)

from benchharness.api import Batch, Preprocessing, Task


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

    Args:
        images: float32, shape (batch, channels, height, width).
        affine: float32, shape (batch, 2, 3), output pixel to input pixel.
        positions: Of the pixels.

    Returns:
        float32, channels first in memory whatever the layout of the images is.
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

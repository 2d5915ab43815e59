"""From a batch's uint8 images to the network's input, on the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own idiom)
from torch import nn

from benchharness.api import Batch, Task


class Inputs(nn.Module):
    """Augments and preprocesses batches in bulk.

    Twin note: a module that runs before the network here; layers inside the model in Keras, whose
    ``fit`` compiles them along.
    """

    def __init__(self, task: Task, *, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self._preprocessing = task.preprocessing
        self._is_channels_first = task.execution.layout == "channels_first"
        if task.preprocessing is not None:
            self._order = list(task.preprocessing.order)
            self._mean = _per_channel(task.preprocessing.mean, device)
            self._scale = _per_channel(task.preprocessing.scale, device)
            if task.preprocessing.whitening is not None:
                whitening = task.preprocessing.whitening
                self._centre = torch.from_numpy(whitening.mean).to(device)
                self._basis = torch.from_numpy(whitening.basis).to(device)
                self._gain = torch.from_numpy(whitening.gain).to(device)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return float32 (batch, channels, height, width), or features as they are."""
        inputs = torch.from_numpy(batch.inputs).to(self._device, non_blocking=True)
        if self._preprocessing is None:
            # Cached activations are images of many channels; plain features are flat.
            return self._arrange(inputs) if inputs.ndim == 4 else inputs
        # NHWC bytes seen as NCHW are channels-last memory: no copy.
        images = inputs.permute(0, 3, 1, 2).float()
        if batch.warp is not None:
            affine = torch.from_numpy(batch.warp.affine).to(self._device, non_blocking=True)
            colour = torch.from_numpy(batch.warp.colour).to(self._device, non_blocking=True)
            images = (warp(images, affine) + colour[:, :, None, None]).clamp_(0, 255)
        images = self._preprocess(images)
        return images.contiguous() if self._is_channels_first else images

    def labels(self, batch: Batch) -> torch.Tensor:
        """Return int64 labels on the device, shape (batch,)."""
        return torch.from_numpy(batch.labels).to(self._device, torch.int64, non_blocking=True)

    def _arrange(self, inputs: torch.Tensor) -> torch.Tensor:
        images = inputs.permute(0, 3, 1, 2)
        return images.contiguous() if self._is_channels_first else images

    def _preprocess(self, images: torch.Tensor) -> torch.Tensor:
        if self._order != sorted(self._order):
            images = images[:, self._order].contiguous(memory_format=torch.channels_last)
        images = (images - self._mean) * self._scale
        if self._preprocessing is None or self._preprocessing.whitening is None:
            return images
        flat = images.permute(0, 2, 3, 1).flatten(1) - self._centre
        white = ((flat @ self._basis) * self._gain) @ self._basis.T
        height, width = images.shape[2:]
        return white.unflatten(1, (height, width, -1)).permute(0, 3, 1, 2)


def warp(images: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """Resample each image by its affine map, bilinear, edge pixels repeated outside.

    Args:
        images: float32, shape (batch, channels, height, width).
        affine: float32, shape (batch, 2, 3), output pixel to input pixel.
    """
    height, width = images.shape[2:]
    ys = torch.arange(height, device=images.device, dtype=torch.float32)
    xs = torch.arange(width, device=images.device, dtype=torch.float32)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(-1, 3)
    source = pixels @ affine.transpose(1, 2)
    # grid_sample counts from -1 to 1 over the outer edges of the first and last pixel.
    size = torch.tensor([width, height], device=images.device, dtype=torch.float32)
    grid = ((2 * source + 1) / size - 1).view(-1, height, width, 2)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _per_channel(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)

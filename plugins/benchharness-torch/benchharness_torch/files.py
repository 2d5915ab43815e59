"""Loading image files, by torchvision's decoder in the worker processes of a DataLoader.

torchvision is imported inside the functions: that takes as long as importing PyTorch, and most
trials load no files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from benchharness.api import Batch, Batches, NativeSettings, Task, UnsupportedError

if TYPE_CHECKING:
    from torchvision.transforms import v2


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

"""Augmentation, drawn by the core: one affine map and one colour shift for each image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchharness.data.batches import Stream, generator
from benchharness.model.task import AugmentationParams

Table = NDArray[np.float64]

# Uniform draws for the affine map of one image; those for its channels follow.
_COLUMNS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far images may be changed; 0 and False leave them alone.

    All draws are uniform, and every picture is turned about its centre.

    Attributes:
        flip_horizontal, flip_vertical: Mirror, with probability 1/2.
        crop: Keep a square whose side is a share in [1 - crop, 1] of the whole, at a random place,
            and enlarge it to the whole.
        shift: Move along each axis by up to this share of the side.
        rotation: Turn by up to this many degrees, either way.
        shear: Slant by up to this tangent: x gains up to ``shear`` times y, either way.
        zoom: Show ``1 - zoom`` to ``1 + zoom`` times the side; below 1 enlarges. Keras's
            ``zoom_range`` with both axes alike.
        channel_shift: Add up to this much to each channel, 0-255 scale, either way.
    """

    flip_horizontal: bool = False
    flip_vertical: bool = False
    crop: float = 0.0
    shift: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    channel_shift: float = 0.0


class AugmentationPlan:
    """The warps of one epoch, drawn at once.

    What an image gets depends on (seed, epoch, its id) alone: not on its batch, nor on how many
    images there are, nor on which other amounts are in use.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        *,
        images: int,
        seed: int,
        epoch: int,
        size: int,
        channels: int,
    ) -> None:
        draw = generator(Stream.AUGMENTATION, seed=seed, epoch=epoch)
        # Row i is made of the i-th run of draws, however many rows follow.
        table = draw.random((images, _COLUMNS + channels)).T
        colour = augmentation.channel_shift * (2 * table[_COLUMNS:].T - 1)
        self._colour = colour.astype(np.float32)
        mirror_x, mirror_y, side = table[:3]
        # From -1 to 1.
        crop_x, crop_y, move_x, move_y, angle, slant, scale = 2 * table[3:_COLUMNS] - 1
        # The picture is cropped first, then zoomed, slanted, turned, moved and mirrored last, all
        # about its centre; as each map leads from the output back to the input, they are composed
        # in that order from the left.
        centre = (size - 1) / 2
        whole = _matrices(1, 0, np.full(len(side), centre), 0, 1, centre)
        if augmentation.crop:
            kept = 1 - augmentation.crop * side
            room = (1 - kept) * size / 2
            whole = whole @ _matrices(kept, 0, room * crop_x, 0, kept, room * crop_y)
        if augmentation.zoom:
            shown = 1 + augmentation.zoom * scale
            whole = whole @ _matrices(shown, 0, 0, 0, shown, 0)
        if augmentation.shear:
            whole = whole @ _matrices(1, augmentation.shear * slant, 0, 0, 1, 0)
        if augmentation.rotation:
            turn = np.radians(augmentation.rotation * angle)
            cos, sin = np.cos(turn), np.sin(turn)
            whole = whole @ _matrices(cos, -sin, 0, sin, cos, 0)
        if augmentation.shift:
            reach = augmentation.shift * size
            whole = whole @ _matrices(1, 0, reach * move_x, 0, 1, reach * move_y)
        if augmentation.flip_horizontal:
            whole = whole @ _matrices(np.where(mirror_x < 0.5, -1.0, 1.0), 0, 0, 0, 1, 0)
        if augmentation.flip_vertical:
            whole = whole @ _matrices(1, 0, 0, 0, np.where(mirror_y < 0.5, -1.0, 1.0), 0)
        whole[:, :2, 2] -= whole[:, :2, :2].sum(axis=2) * centre
        self._affine = whole[:, :2].astype(np.float32)

    def warp(self, ids: NDArray[np.int64]) -> AugmentationParams:
        """Return the augmentation of these images."""
        return AugmentationParams(affine=self._affine[ids], colour=self._colour[ids])


def _matrices(*entries: Table | float) -> Table:
    """Return 3 x 3 matrices from the six entries of their first two rows."""
    rows = np.broadcast_arrays(*entries, 0.0, 0.0, 1.0)
    return np.stack(rows, axis=-1).reshape(-1, 3, 3)

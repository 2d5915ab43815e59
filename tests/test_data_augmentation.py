"""The augmentation plan, and what it means for pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photographs import picture

from benchharness.data.augmentation import Augmentation, AugmentationPlan
from benchharness.model.host import warp_on_host
from benchharness.model.task import AugmentationParams

EVERYTHING = Augmentation(
    flip_horizontal=True, flip_vertical=True, crop=0.3, shift=0.2, rotation=40, shear=0.2,
    zoom=0.2, channel_shift=20,
)  # fmt: skip


def draw(augmentation, ids, *, seed, epoch, size) -> AugmentationParams:
    """Return the warps of some images in a plan that ends with the last of them."""
    plan = AugmentationPlan(
        augmentation, images=int(ids.max()) + 1, seed=seed, epoch=epoch, size=size, channels=3
    )
    return plan.warp(ids)


def drawn(augmentation, *, count=400, seed=7, epoch=1, size=32) -> AugmentationParams:
    """Return the warps of the first ``count`` images."""
    return draw(augmentation, np.arange(count), seed=seed, epoch=epoch, size=size)


def image(size=32):
    """Return one smooth RGB picture as a batch of one."""
    return np.asarray(picture(seed=1, width=size, height=size))[None]


def one(affine, colour=(0, 0, 0)) -> AugmentationParams:
    """Return the warp of one image from nested lists."""
    return AugmentationParams(
        affine=np.array([affine], dtype=np.float32), colour=np.array([colour], dtype=np.float32)
    )


def determinant(warp: AugmentationParams):
    """Return by which area factor each image is read."""
    return np.linalg.det(warp.affine[:, :, :2].astype(np.float64))


def test_no_amounts_give_exactly_the_identity():
    """Not nearly: the pixels come back unchanged."""
    warp = drawn(Augmentation())

    assert np.array_equal(warp.affine, np.tile(np.eye(2, 3, dtype=np.float32), (400, 1, 1)))
    assert not warp.colour.any()
    assert warp.affine.dtype == warp.colour.dtype == np.float32


@pytest.mark.parametrize("name", list(Augmentation.__slots__))
def test_every_amount_changes_something(name):
    """Each amount alone is no identity, in name and in effect."""
    amount = True if name.startswith("flip") else 0.3
    augmentation = replace(Augmentation(), **{name: amount})
    warp, still = drawn(augmentation), drawn(Augmentation())

    assert not (
        np.array_equal(warp.affine, still.affine) and np.array_equal(warp.colour, still.colour)
    )


def test_an_image_s_warp_does_not_depend_on_its_batch():
    """Alone, in another order, or among more images: the same."""
    plan = AugmentationPlan(EVERYTHING, images=100, seed=7, epoch=3, size=32, channels=3)
    whole = plan.warp(np.arange(100))

    alone = draw(EVERYTHING, np.array([42]), seed=7, epoch=3, size=32)
    shuffled = plan.warp(np.array([9, 42, 0]))

    assert np.array_equal(alone.affine[0], whole.affine[42])
    assert np.array_equal(alone.colour[0], whole.colour[42])
    assert np.array_equal(shuffled.affine, whole.affine[[9, 42, 0]])


def test_seed_epoch_and_image_each_change_the_warp():
    """No two of them coincide."""
    warps = [drawn(EVERYTHING, seed=s, epoch=e, count=50).affine for s in (1, 2) for e in (1, 2)]

    assert len({row.tobytes() for warp in warps for row in warp}) == 200


def test_one_amount_does_not_disturb_the_draws_of_another():
    """Switching rotation on leaves the colours and the flips as they were."""
    without = drawn(replace(EVERYTHING, rotation=0.0))
    with_it = drawn(EVERYTHING)

    assert np.array_equal(with_it.colour, without.colour)
    assert np.array_equal(determinant(with_it) < 0, determinant(without) < 0)


@pytest.mark.parametrize(("axis", "name"), [(1, "flip_vertical"), (0, "flip_horizontal")])
def test_a_flip_mirrors_exactly_half_of_the_time(axis, name):
    """A flipped image is the array reversed along its width or height, to the bit."""
    warp = drawn(Augmentation(**{name: True}))
    flipped = warp.affine[:, axis, axis] < 0
    pixels = np.repeat(image(), 2, axis=0)
    pair = np.array([int(np.argmax(flipped)), int(np.argmin(flipped))])

    result = warp_on_host(
        pixels, AugmentationParams(affine=warp.affine[pair], colour=warp.colour[pair])
    )

    assert np.array_equal(result[0], np.flip(pixels[0], 1 - axis))
    assert np.array_equal(result[1], pixels[1])
    assert 160 < flipped.sum() < 240


def test_a_crop_stays_inside_the_picture_and_reaches_its_edges():
    """The square that is kept lies within; over many draws it touches both sides."""
    size = 32
    affine = drawn(Augmentation(crop=0.5), count=5000, size=size).affine.astype(np.float64)
    kept = affine[:, 0, 0]
    first = affine[:, :, 2] + affine[:, 0, :1] * -0.5
    last = affine[:, :, 2] + affine[:, 0, :1] * (size - 0.5)

    assert np.array_equal(affine[:, 0, 0], affine[:, 1, 1])
    assert 0.5 <= kept.min() < 0.51
    assert 0.99 < kept.max() <= 1
    assert first.min() >= -0.5 - 1e-4
    assert last.max() <= size - 0.5 + 1e-4
    assert first.min() < -0.4
    assert last.max() > size - 0.6


def test_a_rotation_turns_about_the_centre():
    """The centre stays, lengths stay, and angles fill the range."""
    affine = drawn(Augmentation(rotation=30), count=5000, size=33).affine.astype(np.float64)
    angles = np.degrees(np.arctan2(affine[:, 1, 0], affine[:, 0, 0]))

    assert np.allclose(affine @ (16, 16, 1), (16, 16), atol=1e-5)
    assert np.allclose(np.linalg.det(affine[:, :, :2]), 1)
    assert -30 <= angles.min() < -29.9
    assert 29.9 < angles.max() <= 30


def test_a_zoom_scales_both_axes_about_the_centre():
    """From 1 - zoom to 1 + zoom of the side is shown."""
    affine = drawn(Augmentation(zoom=0.2), count=5000, size=33).affine.astype(np.float64)

    assert np.array_equal(affine[:, 0, 0], affine[:, 1, 1])
    assert np.allclose(affine @ (16, 16, 1), (16, 16), atol=1e-5)
    assert 0.8 <= affine[:, 0, 0].min() < 0.801
    assert 1.199 < affine[:, 0, 0].max() <= 1.2 + 1e-6


def test_a_shear_slants_x_by_the_tangent():
    """Horizontally a point gains up to shear times y; areas stay."""
    affine = drawn(Augmentation(shear=0.25), count=5000).affine

    assert np.allclose(determinant(drawn(Augmentation(shear=0.25))), 1)
    assert (affine[:, 1, :2] == (0, 1)).all()
    assert 0.249 < np.abs(affine[:, 0, 1]).max() <= 0.25


def test_a_shift_moves_each_axis_by_a_share_of_the_side():
    """Independently of each other, either way."""
    moved = drawn(Augmentation(shift=0.25), count=5000, size=40).affine[:, :, 2]

    assert np.abs(moved).max() <= 10
    assert moved.min() < -9.9 < 9.9 < moved.max()
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.05


def test_channels_shift_independently():
    """Up to the amount, either way."""
    colour = drawn(Augmentation(channel_shift=20), count=5000).colour

    assert np.abs(colour).max() <= 20
    assert colour.min() < -19.9 < 19.9 < colour.max()
    assert np.abs(np.corrcoef(colour.T) - np.eye(3)).max() < 0.06


def test_maps_compose_as_documented():
    """Cropped first, mirrored last: the product of the single maps, about the centre."""
    size, ids = 32, np.arange(20)
    centre = np.array([[1, 0, 15.5], [0, 1, 15.5], [0, 0, 1]])
    names = ("crop", "zoom", "shear", "rotation", "shift", "flip_horizontal", "flip_vertical")
    product = np.tile(np.eye(3), (20, 1, 1))
    for name in names:
        alone = Augmentation(**{name: getattr(EVERYTHING, name)})
        affine = draw(alone, ids, seed=7, epoch=1, size=size).affine
        square = np.concatenate([affine, np.tile([[[0, 0, 1]]], (20, 1, 1))], axis=1)
        product = product @ (np.linalg.inv(centre) @ square @ centre)

    together = drawn(EVERYTHING, count=20, size=size).affine

    assert np.allclose(together, (centre @ product @ np.linalg.inv(centre))[:, :2], atol=1e-4)


@given(
    crop=st.floats(0, 0.9),
    zoom=st.floats(0, 0.9),
    shear=st.floats(0, 2),
    rotation=st.floats(0, 180),
)
def test_areas_stay_within_the_amounts(crop, zoom, shear, rotation):
    """Only crop and zoom change the area, by their squares."""
    augmentation = Augmentation(crop=crop, zoom=zoom, shear=shear, rotation=rotation)

    area = determinant(drawn(augmentation, count=30))

    assert (area >= ((1 - crop) * (1 - zoom)) ** 2 - 1e-5).all()
    assert (area <= (1 + zoom) ** 2 + 1e-5).all()


@pytest.mark.parametrize(
    ("pixels", "shift", "expected"),
    [
        ([[0, 10, 20, 30, 40]], (2, 0), [20, 30, 40, 40, 40]),
        ([[0, 10], [20, 50]], (0.5, 0.5), [20, 30, 35, 50]),
    ],
)
def test_the_reference_reads_where_the_map_points(pixels, shift, expected):
    """Two pixels to the right, then the edge; halfway in both directions is the mean of four."""
    x, y = shift
    batch = np.array(pixels, dtype=np.uint8)[None, ..., None]

    result = warp_on_host(batch, one([[1, 0, x], [0, 1, y]], colour=(0,)))

    assert result.ravel().tolist() == expected


def test_the_reference_shifts_colours_and_clips():
    """After the map; 0-255 is kept."""
    pixels = np.full((1, 2, 2, 3), 250, dtype=np.uint8)

    result = warp_on_host(pixels, one([[1, 0, 0], [0, 1, 0]], colour=(10, -10, -255)))

    assert result[0, 0, 0].tolist() == [255, 240, 0]
    assert result.dtype == np.float32


def test_a_quarter_turn_is_the_array_turned():
    """The x axis runs along the width and y along the height: the map (x, y) -> (y, n - 1 - x)."""
    result = warp_on_host(image(), one([[0, 1, 0], [-1, 0, 31]]))

    assert np.array_equal(result[0], np.rot90(image()[0], k=-1))

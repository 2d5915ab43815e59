"""Drawn animals and objects to learn from beforehand: repeatable, and neither cats nor dogs."""

from __future__ import annotations

import numpy as np
import pytest
from zoo import KINDS, draw_kind


def test_there_are_many_kinds_and_neither_cats_nor_dogs():
    """What is learnt beforehand is not what the suites ask for."""
    assert 20 <= len(KINDS) <= 32
    assert not {"cat", "cats", "dog", "dogs", "kitten", "puppy", "wolf"} & set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_drawn_alike_from_one_seed_and_otherwise_from_another(name: str):
    """A picture is RGB with sides of 160 to 420 pixels, and its seed repeats every pixel."""
    first, again, other = (draw_kind(name, np.random.default_rng(seed)) for seed in (3, 3, 4))

    assert first.mode == "RGB"
    assert min(first.size) >= 160 and max(first.size) <= 420
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_can_be_drawn_in_all_its_poses(name: str):
    """Whatever is drawn has outlines of finite points, and a size."""
    for seed in range(24):
        low, high = KINDS[name](np.random.default_rng(seed)).bounds()

        assert np.isfinite([low, high]).all()
        assert high.real > low.real and high.imag > low.imag


def test_each_kind_is_a_picture_of_its_own():
    """With equal chance, all kinds differ."""
    pictures = {draw_kind(name, np.random.default_rng(5)).tobytes() for name in KINDS}

    assert len(pictures) == len(KINDS)


def test_an_unknown_kind_is_refused():
    """The message says what can be drawn."""
    with pytest.raises(ValueError, match=r"expected one of bear, .*, found cat"):
        draw_kind("cat", np.random.default_rng(5))

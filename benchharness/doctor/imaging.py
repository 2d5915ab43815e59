"""Measuring what pictures take: drawing one, and decoding one of a photograph's size."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchharness.data.drawn.picture import draw
from benchharness.data.images import read_image
from benchharness.measure.clock import now_s
from benchharness.run.estimate.calibration import ImageSpeed

# Median of the photographs of cats and dogs.
_PHOTOGRAPH = (500, 375)
_SIZE = 150
_DRAWN, _DECODED = 4, 12


def measure_images(*, now: Callable[[], float] = now_s) -> ImageSpeed:
    """Return the seconds of drawing and of decoding one picture, on one core."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "picture.jpg"
        began_s = now()
        for label in range(_DRAWN):
            picture = draw(label % 2, np.random.default_rng(label))
            picture.save(file)
        drawn_s = (now() - began_s) / _DRAWN
        picture.resize(_PHOTOGRAPH, Image.Resampling.BILINEAR).save(file, quality=90)
        began_s = now()
        for _ in range(_DECODED):
            read_image(file, size=_SIZE, channels=3)
        return ImageSpeed(decode_s=(now() - began_s) / _DECODED, draw_s=drawn_s)

"""Pictures: a subject in a scene, seen through an ordinary camera."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from zoo.figure import Figure
from zoo.scene import backdrop, obstacle

# Painted larger than it is kept: Pillow draws hard edges, and reducing them makes them smooth.
_OVERSIZE = 2
# The background is painted this much smaller than it is kept, which blurs it.
_BLUR = 3


def photograph(
    subject: Callable[[np.random.Generator], Figure], rng: np.random.Generator
) -> Image.Image:
    """Return an RGB picture of a subject somewhere, with sides of 160 to 420 pixels.

    Args:
        subject: Gives the figure, in its own units.
        rng: Decides everything.
    """
    width, height = _size(rng)
    canvas = _blurred(backdrop(width, height, rng), width, height)
    brush = ImageDraw.Draw(canvas)
    figure = _framed(subject(rng), canvas.width, canvas.height, rng)
    figure.paint(brush)
    if rng.random() < 0.25:
        obstacle(*figure.bounds(), rng).paint(brush)
    return _photographed(canvas.reduce(_OVERSIZE), rng)


def _blurred(scenery: Figure, width: int, height: int) -> Image.Image:
    """Return the canvas with its scenery out of focus, as behind the subject of a photograph."""
    small = Image.new("RGB", (width // _BLUR, height // _BLUR))
    scenery.moved(complex(1 / _BLUR), 0j).paint(ImageDraw.Draw(small))
    soft = small.resize((width, height), Image.Resampling.BILINEAR)
    return soft.resize((width * _OVERSIZE, height * _OVERSIZE), Image.Resampling.NEAREST)


def _size(rng: np.random.Generator) -> tuple[int, int]:
    longer = round(420 * rng.uniform(0.51, 1.0) ** 1.4)
    shorter = max(160, round(longer * rng.uniform(0.66, 1.0)))
    return (longer, shorter) if rng.random() < 0.6 else (shorter, longer)


def _framed(figure: Figure, width: int, height: int, rng: np.random.Generator) -> Figure:
    """Return the figure scaled to a share of the picture and put somewhere in it."""
    turn = complex(np.exp(1j * rng.normal(0.0, 0.1)))
    low, high = figure.bounds(turn)
    size = high - low
    scale = min(width / size.real, height / size.imag) * rng.uniform(0.7, 1.1)
    room = complex(width, height) - scale * size
    place = complex(room.real * rng.beta(1.3, 1.3), room.imag * rng.beta(1.3, 1.3))
    return figure.moved(scale * turn, place - scale * low)


def _photographed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture under uneven light, perhaps out of focus, with haze and grain."""
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.BoxBlur(max(picture.size) * rng.uniform(0.002, 0.008)))
    width, height = picture.size
    gains = rng.uniform(0.85, 1.3) * rng.normal(1.0, 0.04, 3)
    across, down = np.outer(_light(width, rng), gains), _light(height, rng)
    # Rows of interleaved bands: NumPy is several times slower along a last axis of three.
    rows = np.asarray(picture).reshape(height, width * 3)
    exposed = rows * across.ravel().astype(np.float32)
    exposed *= down[:, None].astype(np.float32)
    # Whole random bytes are the quickest noise; the shift sets its strength.
    shift = int(rng.integers(3, 6))
    exposed += rng.integers(0, 256, rows.shape, dtype=np.uint8) >> shift
    exposed += np.float32(rng.uniform(0.0, 24.0) - (128 >> shift))
    np.clip(exposed, 0.0, 255.0, out=exposed)
    return Image.fromarray(exposed.astype(np.uint8).reshape(height, width, 3))


def _light(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the light along one side, 0.7-1, as a slow wave."""
    start, turns = rng.uniform(0.0, 2 * np.pi), rng.uniform(0.0, 1.5 * np.pi)
    wave = 0.5 + 0.5 * np.sin(np.linspace(start, start + turns, length))
    return 1.0 - rng.uniform(0.0, 0.3) * wave

"""Figures: outlines and colours, to be placed, turned and painted as one.

Points are complex numbers, x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

Colour = tuple[int, int, int]
Outline = NDArray[np.complex128]
Points = Sequence[complex] | Outline
T = TypeVar("T")

INK: Colour = (26, 22, 24)
PALE: Colour = (240, 234, 224)
LIGHT: Colour = (255, 250, 235)
WHITE: Colour = (248, 248, 248)

_STEPS = np.linspace(0.0, 1.0, 6, endpoint=False)
# Each row blends four neighbouring points into one point of the curve between the middle two.
_BLEND = (
    0.5
    * np.stack([_STEPS**0, _STEPS, _STEPS**2, _STEPS**3], axis=1)
    @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
)
_CIRCLE = np.exp(2j * np.pi * np.arange(28) / 28)


def choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Return one of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return the colour that lies the given share of the way from a to b."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def varied(colour: Colour, rng: np.random.Generator, amount: float) -> Colour:
    """Return a neighbour of the colour, each channel moved by about the amount."""
    red, green, blue = np.clip(np.add(colour, rng.normal(0.0, amount, 3)), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def blob(points: Points) -> Outline:
    """Return a smooth closed outline through the points.

    Source:
        Catmull and Rom, "A class of local interpolating splines" (1974).
    """
    p = np.asarray(points, dtype=np.complex128)
    around = np.concatenate([p[-1:], p, p[:2]])
    return _blend(around)


def symmetric(right: Points) -> Outline:
    """Return a smooth outline from its right half, given from top to bottom."""
    half = np.asarray(right, dtype=np.complex128)
    return blob(np.concatenate([half, mirrored(half)[::-1]]))


def curve(points: Points) -> Outline:
    """Return a smooth open curve through the points."""
    p = np.asarray(points, dtype=np.complex128)
    padded = np.concatenate([p[:1], p, p[-1:]])
    return np.append(_blend(padded), p[-1])


def ribbon(spine: Points, start: float, end: float) -> Outline:
    """Return a limb along the spine, its half-width going from start to end, both ends round."""
    middle = curve(spine)
    along = np.linspace(0.0, 1.0, len(middle))
    direction = np.gradient(middle)
    half_width = (start + (end - start) * along) * np.sqrt(1.0 - (2.0 * along - 1.0) ** 10)
    side = 1j * direction / np.abs(direction) * half_width
    return np.concatenate([middle + side, (middle - side)[::-1]])


def ellipse(centre: complex, rx: float, ry: float, turn: float = 0.0) -> Outline:
    """Return an ellipse turned by an angle in radians."""
    upright = rx * _CIRCLE.real + 1j * ry * _CIRCLE.imag
    turned: Outline = centre + np.exp(1j * turn) * upright
    return turned


def box(left: float, top: float, right: float, bottom: float) -> Outline:
    """Return an upright rectangle."""
    return np.array([left + 1j * top, right + 1j * top, right + 1j * bottom, left + 1j * bottom])


def mirrored(outline: Outline) -> Outline:
    """Return the outline with left and right exchanged."""
    return -outline.conjugate()


def ruffled(outline: Outline, amount: float, rng: np.random.Generator) -> Outline:
    """Return the outline with tufts: each point moved to or from the centre, at random."""
    centre = outline.mean()
    tufts = 1.0 + amount * rng.standard_normal(len(outline))
    tufted: Outline = centre + (outline - centre) * tufts
    return tufted


def _blend(p: Outline) -> Outline:
    """Return the curve through all points but the first and the last two."""
    neighbours = np.array([p[:-3], p[1:-2], p[2:-1], p[3:]])
    points: Outline = (_BLEND @ neighbours).T.ravel()
    return points


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stroke:
    """One outline in one colour.

    Attributes:
        width: Thickness of an open line in the figure's units; 0 fills the closed outline.
        depth: How round it looks, 0-1: light gathers towards the upper left.
    """

    outline: Outline
    colour: Colour
    width: float = 0.0
    depth: float = 0.0


class Figure:
    """Strokes in painting order."""

    def __init__(self, strokes: Iterable[Stroke] = ()) -> None:
        self.strokes = list(strokes)

    def fill(self, outline: Outline, colour: Colour, depth: float = 0.0) -> None:
        """Add a filled outline."""
        self.strokes.append(Stroke(outline=outline, colour=colour, depth=depth))

    def line(self, points: Outline, colour: Colour, width: float) -> None:
        """Add an open line."""
        self.strokes.append(Stroke(outline=points, colour=colour, width=width))

    def extend(self, other: Figure) -> None:
        """Paint another figure over this one."""
        self.strokes.extend(other.strokes)

    def moved(self, factor: complex, offset: complex) -> Figure:
        """Return the figure scaled and turned by the factor, then shifted by the offset."""
        return Figure(
            replace(s, outline=s.outline * factor + offset, width=s.width * abs(factor))
            for s in self.strokes
        )

    def mirrored(self) -> Figure:
        """Return the figure with left and right exchanged."""
        return Figure(replace(s, outline=mirrored(s.outline)) for s in self.strokes)

    def bounds(self, turn: complex = 1.0) -> tuple[complex, complex]:
        """Return the upper left and the lower right corner of everything filled, once turned."""
        points = turn * np.concatenate([s.outline for s in self.strokes if not s.width])
        x, y = points.real, points.imag
        return complex(x.min(), y.min()), complex(x.max(), y.max())

    def paint(self, brush: ImageDraw.ImageDraw) -> None:
        """Paint every stroke, its units taken as pixels."""
        for stroke in self.strokes:
            if stroke.width:
                width = max(1, round(stroke.width))
                brush.line(_flat(stroke.outline), fill=stroke.colour, width=width)
            else:
                _paint_filled(brush, stroke)


def _paint_filled(brush: ImageDraw.ImageDraw, stroke: Stroke) -> None:
    """Fill an outline, then lighter and smaller copies of it towards the light."""
    brush.polygon(_flat(stroke.outline), fill=stroke.colour)
    if not stroke.depth:
        return
    centre = stroke.outline.mean()
    spokes = stroke.outline - centre
    reach = np.abs(spokes).max()
    for step in (0.25, 0.5, 0.75):
        towards_light = centre - step * (0.16 + 0.2j) * reach
        colour = mix(stroke.colour, LIGHT, 0.3 * step * stroke.depth)
        brush.polygon(_flat(towards_light + spokes * (1.0 - 0.75 * step)), fill=colour)


def _flat(outline: Outline) -> list[float]:
    """Return x0, y0, x1, y1, ... as Pillow wants them."""
    flat: list[float] = np.ascontiguousarray(outline).view(np.float64).tolist()
    return flat

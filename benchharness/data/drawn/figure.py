"""A figure: strokes in its own units, to be placed, turned and painted as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from benchharness.data.drawn.colours import LIGHT, Colour, mix
from benchharness.data.drawn.shapes import Outline, mirrored


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
            Stroke(
                outline=s.outline * factor + offset,
                colour=s.colour,
                width=s.width * abs(factor),
                depth=s.depth,
            )
            for s in self.strokes
        )

    def mirrored(self) -> Figure:
        """Return the figure with left and right exchanged."""
        return Figure(
            Stroke(outline=mirrored(s.outline), colour=s.colour, width=s.width, depth=s.depth)
            for s in self.strokes
        )

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

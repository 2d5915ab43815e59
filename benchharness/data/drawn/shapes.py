"""Outlines in the plane: points are complex numbers, x to the right and y down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.complex128]
Points = Sequence[complex] | Outline

_STEPS = np.linspace(0.0, 1.0, 6, endpoint=False)
# Each row blends four neighbouring points into one point of the curve between the middle two.
_BLEND = (
    0.5
    * np.stack([_STEPS**0, _STEPS, _STEPS**2, _STEPS**3], axis=1)
    @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
)
_CIRCLE = np.exp(2j * np.pi * np.arange(28) / 28)


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

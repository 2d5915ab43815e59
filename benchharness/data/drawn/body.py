"""The parts of a body: trunk, legs, paws, tail, and the marks on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchharness.data.drawn.anatomy import Anatomy
from benchharness.data.drawn.colours import INK, LIGHT, Coat, Colour, mix
from benchharness.data.drawn.figure import Figure
from benchharness.data.drawn.shapes import Outline, blob, curve, ellipse, ribbon, ruffled, symmetric


def add_trunk(figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    """Add the body seen from the side, its middle at 0, its chest to the right."""
    n, chest, waist = anatomy.torso, anatomy.girth, anatomy.belly
    trunk = blob([
        complex(-n, -0.2), complex(-0.7 * n, -0.75), -0.72j, complex(0.75 * n, -0.8),
        complex(n * 1.05, -0.1), complex(0.75 * n, chest * 0.9), complex(0.0, waist),
        complex(-0.75 * n, waist * 0.85),
    ])  # fmt: skip
    figure.fill(ruffled(trunk, coat.tufts * 0.7, rng), coat.fur, depth=0.8)
    if coat.pattern == "stripes":
        for x in np.linspace(-0.75, 0.75, 6) * n:
            spine = [complex(x, -0.68), complex(x - 0.12, -0.3), complex(x, 0.15)]
            figure.fill(ribbon(spine, 0.1, 0.03), coat.marks)
    add_patches(figure, coat, rng, 0j, n * 0.6, 0.25)


def add_neck(figure: Figure, anatomy: Anatomy, coat: Coat, spine: Sequence[complex]) -> None:
    """Add a neck from the chest up to the head."""
    figure.fill(ribbon(spine, anatomy.girth * 0.85, 0.55), coat.fur)


def add_bib(figure: Figure, coat: Coat, right: Sequence[complex]) -> None:
    """Add the front of the chest from its right half."""
    figure.fill(symmetric(right), mix(coat.fur, coat.front, 0.6))


def add_patches(
    figure: Figure, coat: Coat, rng: np.random.Generator, centre: complex, rx: float, ry: float
) -> None:
    """Add patches around the centre, where the coat has any."""
    if coat.pattern != "patches":
        return
    for _ in range(3):
        spot = centre + complex(rx * rng.uniform(-1, 1), ry * rng.uniform(-1, 1))
        patch = ellipse(spot, rng.uniform(0.2, 0.45), rng.uniform(0.2, 0.36))
        figure.fill(ruffled(patch, 0.06, rng), coat.marks)


def add_leg(
    figure: Figure, anatomy: Anatomy, coat: Coat, spine: Sequence[complex], *, dark: float
) -> None:
    """Add a leg and its paw; dark is the share of shade on it, 0-1."""
    w = anatomy.leg_width
    figure.fill(ribbon(spine, w * 1.3, w * 0.9), shaded(coat, dark))
    add_paw(figure, coat, spine[-1] + 0.3 * w, w * 1.35, w * 0.8)


def add_paw(figure: Figure, coat: Coat, centre: complex, rx: float, ry: float) -> None:
    """Add a paw."""
    figure.fill(ellipse(centre, rx, ry), mix(shaded(coat, 0.1), coat.front, 0.7), depth=0.3)


def add_tail(
    figure: Figure, anatomy: Anatomy, coat: Coat, root: complex, *, heading: float, bend: int
) -> None:
    """Add a tail that leaves its root in a direction and bends as the anatomy says.

    Args:
        heading: Radians, 0 to the right, growing clockwise.
        bend: 1 to bend clockwise, -1 to bend the other way.
    """
    headings = heading + bend * anatomy.tail_curl * np.linspace(0.0, 1.0, 5)
    steps = np.append(0.0, np.cumsum(np.exp(1j * headings)))
    spine: Outline = np.asarray(root + steps * anatomy.tail / 5, dtype=np.complex128)
    w = anatomy.tail_width
    colour = coat.marks if coat.pattern == "points" else shaded(coat, 0.1)
    figure.fill(ribbon(spine, w * 1.1, w * 0.7), colour)
    figure.line(curve(spine[:-1]), mix(colour, LIGHT, 0.12), w * 0.7)


def shaded(coat: Coat, dark: float) -> Colour:
    """Return the fur's colour with a share of shade, 0-1."""
    return mix(coat.fur, INK, dark)

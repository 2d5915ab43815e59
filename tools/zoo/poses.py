"""Poses: a head on shoulders, sitting, standing, lying; half of a head's width is 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from zoo.animal import Anatomy, Coat, head
from zoo.figure import (
    INK,
    LIGHT,
    Colour,
    Figure,
    Outline,
    blob,
    curve,
    ellipse,
    mix,
    ribbon,
    ruffled,
    symmetric,
)

Pose = Callable[[Anatomy, Coat, np.random.Generator], Figure]


def _portrait(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    figure = Figure()
    w = 0.75 + 0.35 * anatomy.girth
    shoulders = [0.3 + 0.2j, 0.75 + 0.5j, complex(w, 1.3), complex(w + 0.1, 2.2), 0.3 + 2.4j]
    figure.fill(ruffled(symmetric(shoulders), coat.tufts, rng), coat.fur, depth=0.5)
    _add_bib(figure, coat, [0.2 + 0.7j, 0.45 + 1.1j, 0.3 + 1.8j, 0.1 + 2.1j])
    figure.extend(head(anatomy, coat, rng, facing=0.85))
    return figure


def _sitting(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    figure = Figure()
    hip, tall = 0.7 + 0.55 * anatomy.girth, 1.6 + 0.7 * anatomy.torso
    side = 1 if rng.random() < 0.5 else -1
    root = complex(side * hip * 0.8, tall - 0.25)
    away = 0.25 if side > 0 else np.pi - 0.25
    _add_tail(figure, anatomy, coat, root, heading=away, bend=-side)
    flank = [complex(0.8 * hip, tall * 0.6), complex(hip, tall - 0.35), complex(0.5 * hip, tall)]
    trunk = symmetric([0.3 + 0.3j, 0.62 + 0.8j, *flank])
    figure.fill(ruffled(trunk, coat.tufts, rng), coat.fur, depth=0.6)
    _add_patches(figure, coat, rng, complex(0.0, tall * 0.7), hip * 0.6, tall * 0.2)
    _add_bib(figure, coat, [0.2 + 0.6j, 0.42 + 1.2j, 0.3 + 0.7j * tall, 0.1 + 0.75j * tall])
    for s in (-1, 1):
        _add_paw(figure, coat, complex(s * hip * 0.86, tall - 0.1), 0.42, 0.2)
    for s in (-1, 1):
        leg = [s * 0.5 + 0.45j * tall, s * 0.44 + 0.75j * tall, s * 0.4 + 1j * (tall + 0.08)]
        _add_leg(figure, anatomy, coat, leg, dark=0.08)
    figure.extend(head(anatomy, coat, rng, facing=1.0))
    return figure


def _standing(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    figure, n = Figure(), anatomy.torso
    stride = rng.uniform(-0.5, 0.5)
    raised = np.pi + rng.uniform(0.1, 0.9)
    _add_tail(figure, anatomy, coat, complex(-n * 0.95, -0.45), heading=raised, bend=1)
    _add_two_legs(figure, anatomy, coat, stride, dark=0.3)
    _add_trunk(figure, anatomy, coat, rng)
    _add_two_legs(figure, anatomy, coat, -stride, dark=0.05)
    throat = complex(n + 0.25, -anatomy.girth * 0.4 - anatomy.neck)
    _add_neck(figure, anatomy, coat, [n * 0.55 + 0j, n * 0.85 - 0.35j, throat])
    figure.extend(head(anatomy, coat, rng, facing=0.5).moved(1.0, throat))
    return figure


def _lying(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    figure, n = Figure(), anatomy.torso
    ground = 0.85 * anatomy.girth
    root = complex(-n * 0.8, ground - 0.35)
    _add_tail(figure, anatomy, coat, root, heading=np.pi - 0.1, bend=1)
    _add_trunk(figure, anatomy, coat, rng)
    haunch = ellipse(complex(-n * 0.6, 0.15), 0.75, ground * 0.85)
    figure.fill(ruffled(haunch, coat.tufts, rng), _shaded(coat, 0.06), depth=0.6)
    _add_paw(figure, coat, complex(-n * 0.3, ground - 0.05), 0.5, 0.2)
    reach = n + anatomy.leg * 0.7
    for lift in (0.12, 0.0):
        elbow, toes = complex(n, ground - 0.1 - lift), complex(reach + lift, ground - lift)
        _add_leg(figure, anatomy, coat, [n * 0.6 + 1j * (ground - 0.3), elbow, toes], dark=0.1)
    throat = complex(n + 0.1, -0.3 - 0.7 * anatomy.neck)
    _add_neck(figure, anatomy, coat, [n * 0.55 + 0.1j, n * 0.85 - 0.2j, throat])
    figure.extend(head(anatomy, coat, rng, facing=0.7).moved(1.0, throat))
    return figure


def _add_two_legs(
    figure: Figure, anatomy: Anatomy, coat: Coat, stride: float, *, dark: float
) -> None:
    """Add a hind and a fore leg that step apart, the hind one bent."""
    n, foot = anatomy.torso, anatomy.girth * 0.75 + anatomy.leg
    knee, heel = complex(-0.95 * n - stride * 0.3, foot * 0.6), complex(-0.82 * n - stride, foot)
    _add_leg(figure, anatomy, coat, [-0.75 * n + 0j, knee, heel], dark=dark)
    knee, toes = complex(0.72 * n + stride * 0.4, foot * 0.6), complex(0.72 * n + stride, foot)
    _add_leg(figure, anatomy, coat, [0.7 * n + 0.1j, knee, toes], dark=dark)


def _add_trunk(figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
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
    _add_patches(figure, coat, rng, 0j, n * 0.6, 0.25)


def _add_neck(figure: Figure, anatomy: Anatomy, coat: Coat, spine: Sequence[complex]) -> None:
    """Add a neck from the chest up to the head."""
    figure.fill(ribbon(spine, anatomy.girth * 0.85, 0.55), coat.fur)


def _add_bib(figure: Figure, coat: Coat, right: Sequence[complex]) -> None:
    """Add the front of the chest from its right half."""
    figure.fill(symmetric(right), mix(coat.fur, coat.front, 0.6))


def _add_patches(
    figure: Figure, coat: Coat, rng: np.random.Generator, centre: complex, rx: float, ry: float
) -> None:
    """Add patches around the centre, where the coat has any."""
    if coat.pattern != "patches":
        return
    for _ in range(3):
        spot = centre + complex(rx * rng.uniform(-1, 1), ry * rng.uniform(-1, 1))
        patch = ellipse(spot, rng.uniform(0.2, 0.45), rng.uniform(0.2, 0.36))
        figure.fill(ruffled(patch, 0.06, rng), coat.marks)


def _add_leg(
    figure: Figure, anatomy: Anatomy, coat: Coat, spine: Sequence[complex], *, dark: float
) -> None:
    """Add a leg and its paw; dark is the share of shade on it, 0-1."""
    w = anatomy.leg_width
    figure.fill(ribbon(spine, w * 1.3, w * 0.9), _shaded(coat, dark))
    _add_paw(figure, coat, spine[-1] + 0.3 * w, w * 1.35, w * 0.8)


def _add_paw(figure: Figure, coat: Coat, centre: complex, rx: float, ry: float) -> None:
    """Add a paw."""
    figure.fill(ellipse(centre, rx, ry), mix(_shaded(coat, 0.1), coat.front, 0.7), depth=0.3)


def _add_tail(
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
    colour = coat.marks if coat.pattern == "points" else _shaded(coat, 0.1)
    figure.fill(ribbon(spine, w * 1.1, w * 0.7), colour)
    figure.line(curve(spine[:-1]), mix(colour, LIGHT, 0.12), w * 0.7)


def _shaded(coat: Coat, dark: float) -> Colour:
    """Return the fur's colour with a share of shade, 0-1."""
    return mix(coat.fur, INK, dark)


# Most photographs of pets are of faces. A pose is as likely as it is often here.
POSES: tuple[Pose, ...] = (*[_portrait] * 4, *[_sitting] * 2, _standing, _lying)

"""Poses: a head on shoulders, sitting, standing, lying; the head's half-width is 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchharness.data.drawn import head
from benchharness.data.drawn.anatomy import Anatomy
from benchharness.data.drawn.colours import INK, Coat, Colour, mix
from benchharness.data.drawn.figure import Figure
from benchharness.data.drawn.shapes import Outline, blob, curve, ellipse, ribbon, ruffled, symmetric

Pose = Callable[[Anatomy, Coat, np.random.Generator], Figure]


def portrait(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    """Return head and shoulders."""
    figure = Figure()
    w = 0.75 + 0.35 * anatomy.girth
    chest = symmetric([0.3 + 0.2j, 0.75 + 0.5j, complex(w, 1.3), complex(w + 0.1, 2.2), 0.3 + 2.4j])
    figure.fill(ruffled(chest, coat.tufts, rng), coat.fur, depth=0.5)
    figure.fill(symmetric([0.2 + 0.7j, 0.45 + 1.1j, 0.3 + 1.8j, 0.1 + 2.1j]), _chest(coat))
    figure.extend(_head(anatomy, coat, rng, facing=rng.random() < 0.85))
    return figure


def sitting(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    """Return an animal that sits and looks at us."""
    figure = Figure()
    hip, tall = 0.7 + 0.55 * anatomy.girth, 1.6 + 0.7 * anatomy.torso
    side = 1 if rng.random() < 0.5 else -1
    _tail(
        figure,
        anatomy,
        coat,
        complex(side * hip * 0.8, tall - 0.25),
        0.25 if side > 0 else np.pi - 0.25,
        -side,
    )
    trunk = symmetric(
        [
            0.3 + 0.3j,
            complex(0.62, 0.8),
            complex(0.8 * hip, tall * 0.6),
            complex(hip, tall - 0.35),
            complex(0.5 * hip, tall),
        ]
    )
    figure.fill(ruffled(trunk, coat.tufts, rng), coat.fur, depth=0.6)
    _patches(figure, coat, rng, complex(0.0, tall * 0.7), hip * 0.6, tall * 0.2)
    figure.fill(
        symmetric([0.2 + 0.6j, 0.42 + 1.2j, complex(0.3, tall * 0.7), complex(0.1, tall * 0.75)]),
        _chest(coat),
    )
    for s in (-1, 1):
        figure.fill(ellipse(complex(s * hip * 0.86, tall - 0.1), 0.42, 0.2), _paws(coat), depth=0.3)
    for s in (-1, 1):
        leg = [
            complex(s * 0.5, tall * 0.45),
            complex(s * 0.44, tall * 0.75),
            complex(s * 0.4, tall + 0.08),
        ]
        _leg(figure, anatomy, coat, leg, _fur(coat, 0.08))
    figure.extend(_head(anatomy, coat, rng, facing=True))
    return figure


def standing(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    """Return an animal on its four legs, seen from the side, its head to the right."""
    figure, n = Figure(), anatomy.torso
    stride = rng.uniform(-0.5, 0.5)
    _tail(figure, anatomy, coat, complex(-n * 0.95, -0.45), np.pi + rng.uniform(0.1, 0.9), 1)
    _legs(figure, anatomy, coat, stride, dark=0.3)
    _trunk(figure, anatomy, coat, rng)
    _legs(figure, anatomy, coat, -stride, dark=0.05)
    neck = complex(n + 0.25, -anatomy.girth * 0.4 - anatomy.neck)
    figure.fill(
        ribbon(
            [complex(n * 0.55, 0.0), complex(n * 0.85, -0.35), neck], anatomy.girth * 0.85, 0.55
        ),
        coat.fur,
    )
    figure.extend(_head(anatomy, coat, rng, facing=rng.random() < 0.5).moved(1.0, neck))
    return figure


def lying(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    """Return an animal on its belly, seen from the side, its head to the right."""
    figure, n = Figure(), anatomy.torso
    ground = 0.85 * anatomy.girth
    _tail(figure, anatomy, coat, complex(-n * 0.95, ground - 0.3), np.pi - 0.1, 1)
    _trunk(figure, anatomy, coat, rng)
    haunch = ellipse(complex(-n * 0.6, 0.15), 0.75, ground * 0.85)
    figure.fill(ruffled(haunch, coat.tufts, rng), _fur(coat, 0.06), depth=0.6)
    figure.fill(ellipse(complex(-n * 0.3, ground - 0.05), 0.5, 0.2), _paws(coat), depth=0.3)
    reach = n + anatomy.leg * 0.7
    for lift in (0.12, 0.0):
        leg = [
            complex(n * 0.6, ground - 0.3),
            complex(n, ground - 0.1 - lift),
            complex(reach + lift, ground - lift),
        ]
        _leg(figure, anatomy, coat, leg, _fur(coat, 0.1))
    throat = complex(n + 0.1, -0.3 - 0.7 * anatomy.neck)
    figure.fill(
        ribbon([complex(n * 0.55, 0.1), complex(n * 0.85, -0.2), throat], anatomy.girth * 0.8, 0.5),
        coat.fur,
    )
    figure.extend(_head(anatomy, coat, rng, facing=rng.random() < 0.7).moved(1.0, throat))
    return figure


# Heads alone are the commonest photograph, and the hardest to tell by the tail.
POSES: tuple[Pose, ...] = (
    portrait,
    portrait,
    portrait,
    portrait,
    sitting,
    sitting,
    standing,
    lying,
)


def _head(anatomy: Anatomy, coat: Coat, rng: np.random.Generator, *, facing: bool) -> Figure:
    view = head.front if facing else head.profile
    return view(anatomy, coat, rng).moved(complex(np.exp(1j * rng.normal(0.0, 0.12))), 0j)


def _trunk(figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    """Add the body seen from the side, with its marks; its middle is at 0."""
    n, chest, waist = anatomy.torso, anatomy.girth, anatomy.belly
    trunk = blob([
        complex(-n, -0.2), complex(-0.7 * n, -0.75), complex(0.0, -0.72), complex(0.75 * n, -0.8),
        complex(n * 1.05, -0.1), complex(0.75 * n, chest * 0.9), complex(0.0, waist), complex(-0.75 * n, waist * 0.85),
    ])  # fmt: skip
    figure.fill(ruffled(trunk, coat.tufts * 0.7, rng), coat.fur, depth=0.8)
    if coat.pattern == "stripes":
        for x in np.linspace(-0.75, 0.75, 6) * n:
            figure.fill(
                ribbon([complex(x, -0.68), complex(x - 0.12, -0.3), complex(x, 0.15)], 0.1, 0.03),
                coat.marks,
            )
    _patches(figure, coat, rng, 0j, n * 0.6, 0.25)


def _patches(
    figure: Figure, coat: Coat, rng: np.random.Generator, centre: complex, rx: float, ry: float
) -> None:
    if coat.pattern != "patches":
        return
    for _ in range(3):
        spot = centre + complex(rx * rng.uniform(-1, 1), ry * rng.uniform(-1, 1))
        figure.fill(
            ruffled(ellipse(spot, rng.uniform(0.2, 0.45), rng.uniform(0.2, 0.36)), 0.06, rng),
            coat.marks,
        )


def _legs(figure: Figure, anatomy: Anatomy, coat: Coat, stride: float, *, dark: float) -> None:
    """Add a hind and a fore leg, the hind one bent."""
    n, foot = anatomy.torso, anatomy.girth * 0.75 + anatomy.leg
    hind = [
        complex(-0.75 * n, 0.0),
        complex(-0.95 * n - stride * 0.3, foot * 0.6),
        complex(-0.82 * n - stride, foot),
    ]
    fore = [
        complex(0.7 * n, 0.1),
        complex(0.72 * n + stride * 0.4, foot * 0.6),
        complex(0.72 * n + stride, foot),
    ]
    for leg in (hind, fore):
        _leg(figure, anatomy, coat, leg, _fur(coat, dark))


def _leg(
    figure: Figure, anatomy: Anatomy, coat: Coat, spine: list[complex], colour: Colour
) -> None:
    w = anatomy.leg_width
    figure.fill(ribbon(spine, w * 1.3, w * 0.9), colour)
    figure.fill(ellipse(spine[-1] + 0.3 * w, w * 1.35, w * 0.8), _paws(coat), depth=0.3)


def _tail(
    figure: Figure, anatomy: Anatomy, coat: Coat, root: complex, heading: float, bend: int
) -> None:
    """Add a tail that leaves the root in the heading's direction and bends as the anatomy says."""
    headings = heading + bend * anatomy.tail_curl * np.linspace(0.0, 1.0, 5)
    spine: Outline = root + np.append(0.0, np.cumsum(np.exp(1j * headings))) * anatomy.tail / 5
    figure.fill(
        ribbon(spine, anatomy.tail_width * 1.1, anatomy.tail_width * 0.7),
        _tail_colour(coat),
        depth=0.0,
    )
    figure.line(
        curve(spine[:-1]), mix(_tail_colour(coat), (255, 250, 235), 0.12), anatomy.tail_width * 0.7
    )


def _tail_colour(coat: Coat) -> Colour:
    return coat.marks if coat.pattern == "points" else _fur(coat, 0.1)


def _fur(coat: Coat, dark: float) -> Colour:
    return mix(coat.fur, INK, dark)


def _chest(coat: Coat) -> Colour:
    return mix(coat.fur, coat.front, 0.6)


def _paws(coat: Coat) -> Colour:
    return mix(_fur(coat, 0.1), coat.front, 0.7)

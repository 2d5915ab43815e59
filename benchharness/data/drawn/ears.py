"""Ears of all shapes, seen from the front and from the side."""

from __future__ import annotations

import numpy as np

from benchharness.data.drawn.anatomy import Anatomy
from benchharness.data.drawn.colours import INK, Coat, Colour, mix
from benchharness.data.drawn.figure import Figure
from benchharness.data.drawn.shapes import Outline, blob, ellipse, mirrored

_NOTHING = np.empty(0, dtype=np.complex128)


def add_front(
    figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator, look: complex
) -> None:
    """Add both ears, the one that the look turns to a little narrower."""
    spread = rng.uniform(-0.12, 0.12)
    outer, inner = _FRONT[anatomy.ears](anatomy.ear_length, spread)
    for side in (-1, 1):
        narrow = 1.0 - side * 0.35 * look.real
        for outline, colour, depth in ((outer, _colour(coat), 0.5), (inner, coat.inner_ear, 0.0)):
            if len(outline):
                turned = outline.real * narrow + 1j * outline.imag
                placed = (turned if side > 0 else mirrored(turned)) + 0.3 * look
                figure.fill(placed, colour, depth=depth)


def add_beyond(figure: Figure, anatomy: Anatomy, coat: Coat) -> None:
    """Add what shows of the far ear, seen from the side."""
    if anatomy.ears in _BEYOND:
        ear = _BEYOND[anatomy.ears](anatomy.ear_length)
        figure.fill(ear, mix(_colour(coat), INK, 0.25))


def add_near(figure: Figure, anatomy: Anatomy, coat: Coat) -> None:
    """Add the near ear, seen from the side."""
    outer, inner, depth = _NEAR[anatomy.ears](anatomy.ear_length)
    figure.fill(outer, _colour(coat), depth=depth)
    if len(inner):
        figure.fill(inner, coat.inner_ear)


def _pointed(n: float, spread: float) -> tuple[Outline, Outline]:
    tip = 0.72 + spread - 1j * (0.55 + n)
    inside, outside = 0.38 - 0.78j - 0.45j * n, 0.94 - 0.5j * n - 0.35j
    ear = np.array([0.14 - 0.72j, inside, tip, outside, 0.93 - 0.2j])
    return ear, (ear - tip) * 0.62 + tip + 0.2j


def _folded(n: float, spread: float) -> tuple[Outline, Outline]:
    fold = 0.72 + spread - 1j * (0.5 + 0.6 * n)
    tip = fold + 0.42 + 0.62j * n
    flap = blob([0.3 - 0.82j, fold - 0.08, fold + 0.2 + 0.12j, tip, 0.84 - 0.32j])
    lining = [fold + 0.04 + 0.1j, fold + 0.3 + 0.3j * n, fold + 0.24 + 0.5j * n, 0.62 - 0.6j]
    return flap, blob(lining)


def _drooping(n: float, spread: float) -> tuple[Outline, Outline]:
    tip = complex(1.12 + spread, -0.55 + n)
    root, end = [0.4 - 0.8j, 0.85 - 0.78j, 1.14 - 0.3j], [tip + 0.1 - 0.3j, tip - 0.1]
    return blob([*root, *end, tip - 0.36 - 0.2j, 0.72 - 0.2j]), _NOTHING


def _round(n: float, spread: float) -> tuple[Outline, Outline]:
    middle, r = 0.72 + spread - 1j * (0.42 + 0.3 * n), 0.5 * n
    return ellipse(middle, r, r), ellipse(middle + 0.06j, 0.6 * r, 0.62 * r)


def _long(n: float, spread: float) -> tuple[Outline, Outline]:
    middle, lean = 0.42 + 0.8 * spread - 1j * (0.6 + 0.5 * n), 0.15 + 1.2 * spread
    ear = ellipse(middle, 0.24, 0.5 * n + 0.15, lean)
    return ear, ellipse(middle + 0.05j, 0.13, 0.42 * n, lean)


def _level(n: float, spread: float) -> tuple[Outline, Outline]:
    middle, lean = complex(0.78 + 0.5 * n, -0.5 + 0.5 * spread), 0.15 + 2 * spread
    return ellipse(middle, 0.5 * n, 0.22, lean), ellipse(middle, 0.36 * n, 0.12, lean)


def _flapping(n: float, spread: float) -> tuple[Outline, Outline]:
    edge = [1.0 + n * (0.75 + spread) - 0.7j, complex(0.9 + n, 0.15), complex(0.8 + 0.6 * n, 0.95)]
    ear = blob([0.5 - 0.75j, 0.9 - 0.95j, *edge, 0.75 + 0.6j])
    return ear, (ear - 0.6) * 0.7 + 0.62


def _pointed_beyond(n: float) -> Outline:
    return np.array([0.1 - 0.7j, 0.28 - 0.6j - 1j * n, 0.5 - 0.5j])


def _round_beyond(n: float) -> Outline:
    return ellipse(0.22 - 0.62j - 0.28j * n, 0.3 * n, 0.42 * n)


def _long_beyond(n: float) -> Outline:
    return ellipse(0.12 - 0.65j - 0.5j * n, 0.18, 0.5 * n + 0.1, 0.15)


def _pointed_near(n: float) -> tuple[Outline, Outline, float]:
    tip = -0.12 - 0.6j - 1j * n
    back, front = -0.35 - 0.7j - 0.5j * n, 0.12 - 0.6j - 0.5j * n
    ear = np.array([-0.55 - 0.55j, back, tip, front, 0.2 - 0.55j])
    return ear, (ear - tip) * 0.6 + tip + 0.22j, 0.3


def _folded_near(n: float) -> tuple[Outline, Outline, float]:
    top = [-0.3 - 0.75j - 0.4j * n, 0.1 - 0.75j - 0.3j * n]
    return blob([-0.5 - 0.6j, *top, 0.3 - 0.3j, -0.1 - 0.45j]), _NOTHING, 0.5


def _drooping_near(n: float) -> tuple[Outline, Outline, float]:
    end = [complex(0.0, -0.6 + n), complex(-0.35, -0.55 + n)]
    hanging = [-0.45 - 0.6j, 0.0 - 0.65j, 0.12 - 0.1j, *end, -0.55 + 0.1j]
    return blob(hanging), _NOTHING, 0.6


def _round_near(n: float) -> tuple[Outline, Outline, float]:
    middle = -0.3 - 0.55j - 0.3j * n
    return ellipse(middle, 0.42 * n, 0.48 * n), ellipse(middle, 0.24 * n, 0.3 * n), 0.4


def _long_near(n: float) -> tuple[Outline, Outline, float]:
    middle = -0.3 - 0.6j - 0.5j * n
    return ellipse(middle, 0.25, 0.5 * n + 0.15, -0.2), ellipse(middle, 0.13, 0.4 * n, -0.2), 0.4


def _level_near(n: float) -> tuple[Outline, Outline, float]:
    middle = complex(-0.45 - 0.3 * n, -0.5)
    return ellipse(middle, 0.45 * n, 0.2, 0.3), ellipse(middle, 0.3 * n, 0.1, 0.3), 0.4


def _flapping_near(n: float) -> tuple[Outline, Outline, float]:
    back = [complex(-0.5 - 0.7 * n, -0.6), complex(-0.6 - 0.75 * n, 0.3), complex(-0.5, 1.0)]
    return blob([0.1 - 0.7j, *back, 0.05 + 0.4j]), _NOTHING, 0.5


# The right ear and what shows of its inside, from its length and how far it leans outwards.
_FRONT = {
    "pointed": _pointed,
    "folded": _folded,
    "drooping": _drooping,
    "round": _round,
    "long": _long,
    "level": _level,
    "flapping": _flapping,
}
# The far ear, of the ears that stand up far enough to show.
_BEYOND = {"pointed": _pointed_beyond, "round": _round_beyond, "long": _long_beyond}
# The near ear, what shows of its inside, and how round it looks.
_NEAR = {
    "pointed": _pointed_near,
    "folded": _folded_near,
    "drooping": _drooping_near,
    "round": _round_near,
    "long": _long_near,
    "level": _level_near,
    "flapping": _flapping_near,
}


def _colour(coat: Coat) -> Colour:
    return coat.marks if coat.pattern in ("points", "patches") else coat.ear

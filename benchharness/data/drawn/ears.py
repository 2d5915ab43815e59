"""Ears: pointed, folded or hanging, seen from the front and from the side."""

from __future__ import annotations

import numpy as np

from benchharness.data.drawn.anatomy import Anatomy
from benchharness.data.drawn.colours import INK, Coat, Colour, mix
from benchharness.data.drawn.figure import Figure
from benchharness.data.drawn.shapes import Outline, blob, mirrored

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
    if anatomy.ears == "pointed":
        tip = 0.28 - 0.6j - 1j * anatomy.ear_length
        figure.fill(np.array([0.1 - 0.7j, tip, 0.5 - 0.5j]), mix(_colour(coat), INK, 0.25))


def add_near(figure: Figure, anatomy: Anatomy, coat: Coat) -> None:
    """Add the near ear, seen from the side."""
    n, colour = anatomy.ear_length, _colour(coat)
    if anatomy.ears == "pointed":
        tip = -0.12 - 0.6j - 1j * n
        back, front = -0.35 - 0.7j - 0.5j * n, 0.12 - 0.6j - 0.5j * n
        ear = np.array([-0.55 - 0.55j, back, tip, front, 0.2 - 0.55j])
        figure.fill(ear, colour, depth=0.3)
        figure.fill((ear - tip) * 0.6 + tip + 0.22j, coat.inner_ear)
    elif anatomy.ears == "folded":
        top = [-0.3 - 0.75j - 0.4j * n, 0.1 - 0.75j - 0.3j * n]
        figure.fill(blob([-0.5 - 0.6j, *top, 0.3 - 0.3j, -0.1 - 0.45j]), colour, depth=0.5)
    else:
        end = [complex(0.0, -0.6 + n), complex(-0.35, -0.55 + n)]
        hanging = [-0.45 - 0.6j, 0.0 - 0.65j, 0.12 - 0.1j, *end, -0.55 + 0.1j]
        figure.fill(blob(hanging), colour, depth=0.6)


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


# The right ear and what shows of its inside, from its length and how far it leans outwards.
_FRONT = {"pointed": _pointed, "folded": _folded, "drooping": _drooping}


def _colour(coat: Coat) -> Colour:
    return coat.marks if coat.pattern in ("points", "patches") else coat.ear

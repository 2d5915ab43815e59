"""The parts of a face: marks, muzzle, eyes and whiskers."""

from __future__ import annotations

import numpy as np

from benchharness.data.drawn.anatomy import Anatomy
from benchharness.data.drawn.colours import INK, PALE, WHITE, Coat, mix
from benchharness.data.drawn.figure import Figure
from benchharness.data.drawn.shapes import blob, curve, ellipse, mirrored, symmetric


def add_marks(figure: Figure, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    """Add stripes, a patch around an eye or a blaze to a head seen from the front."""
    if coat.pattern == "stripes":
        _add_stripes(figure, coat, look)
    elif coat.pattern == "patches":
        side = 1 if rng.random() < 0.5 else -1
        patch = ellipse(side * 0.45 - 0.2j + look, 0.4, rng.uniform(0.35, 0.5), side * 0.4)
        figure.fill(patch, coat.marks)
    elif rng.random() < 0.3:
        blaze = symmetric([0.05 - 0.75j, 0.1 - 0.2j, 0.25 + 0.3j])
        figure.fill(blaze + look, mix(coat.fur, PALE, 0.7))


def add_muzzle(
    figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator, look: complex
) -> None:
    """Add muzzle, mouth, whiskers and nose; what stands out moves most when the head turns."""
    w, ahead = anatomy.muzzle, look * (1.2 + anatomy.snout)
    bottom = anatomy.chin - 0.06
    bridge = -0.1 - 0.1 * anatomy.snout if anatomy.snout > 0.5 else 0.24
    shape = symmetric([
        complex(0.3 * w, bridge), complex(0.62 * w, 0.5 * (bridge + bottom) - 0.12),
        complex(w, bottom - 0.36), complex(0.8 * w, bottom - 0.08), complex(0.2 * w, bottom),
    ])  # fmt: skip
    figure.fill(shape + 0.7 * ahead, mix(coat.fur, coat.front, 0.9), depth=0.5)
    nose = complex(0.0, bottom - 0.42) + ahead
    lip, ink = nose + 0.22j, mix(coat.front, INK, 0.75)
    figure.line(np.array([nose, lip]), ink, 0.04)
    for side in (-1, 1):
        smile = [lip, lip + side * 0.5 * w + 0.1j, lip + side * 0.85 * w - 0.02j]
        figure.line(curve(smile), ink, 0.04)
        add_whiskers(figure, anatomy, coat, rng, nose + side * 0.22 + 0.14j, side)
    _add_nose(figure, anatomy.nose, coat, nose)


def add_eye(figure: Figure, anatomy: Anatomy, coat: Coat, centre: complex, side: int) -> None:
    """Add an eye: rim, iris, pupil and the light in it."""
    r, turn = anatomy.eye, np.exp(-0.22j * side * anatomy.almond)
    tall = r * (1.0 - 0.22 * anatomy.almond)
    corner = r * (1.0 + 0.35 * anatomy.almond)
    lower = [0.5 * r + 0.85j * tall, -0.5 * r + 0.85j * tall]
    upper = [-0.5 * r - 0.9j * tall, 0.5 * r - 0.9j * tall]
    shape = blob([corner, *lower, -corner, *upper]) * turn
    figure.fill(centre + 1.12 * shape, mix(coat.fur, INK, 0.75))
    figure.fill(centre + shape, coat.iris)
    figure.fill(ellipse(centre, anatomy.pupil * r, 0.8 * tall), INK)
    figure.fill(ellipse(centre - (0.3 + 0.35j) * r, 0.2 * r, 0.2 * r), WHITE)


def add_whiskers(
    figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator, root: complex, side: int
) -> None:
    """Add three whiskers on one side, where the animal has any; side is -1 or 1."""
    if not anatomy.whiskers:
        return
    colour = PALE if sum(coat.fur) < 480 else mix(coat.fur, INK, 0.5)
    for tilt in (-0.25, 0.0, 0.25):
        reach = side * anatomy.whiskers * np.exp(1j * side * (tilt + rng.normal(0, 0.06)))
        whisker = curve([root, root + 0.5 * reach - 0.03j, root + reach + 0.06j])
        figure.line(whisker, colour, 0.022)


def _add_stripes(figure: Figure, coat: Coat, look: complex) -> None:
    for x in (-0.3, 0.0, 0.3):
        forehead = np.array([x - 0.05 - 0.78j, x + 0.05 - 0.78j, x * 0.6 - 0.3j])
        figure.fill(forehead + 0.5 * look, coat.marks)
    for y in (0.12, 0.32):
        cheek = np.array([0.9 + 1j * (y - 0.06), 0.88 + 1j * (y + 0.05), 0.58 + 1j * y])
        figure.fill(mirrored(cheek), coat.marks)
        figure.fill(cheek, coat.marks)


def _add_nose(figure: Figure, n: float, coat: Coat, centre: complex) -> None:
    """Add a nose of half-width n, and the gleam on it."""
    tip = symmetric([n * (0.5 - 0.62j), n * (1.0 - 0.25j), n * (0.25 + 0.7j)])
    figure.fill(centre + tip, coat.nose)
    figure.fill(ellipse(centre - (0.3 + 0.3j) * n, 0.25 * n, 0.12 * n), mix(coat.nose, PALE, 0.5))

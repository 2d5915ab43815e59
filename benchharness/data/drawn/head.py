"""Heads, from the front and from the side; the eyes' line is at y = 0, half a width is 1."""

from __future__ import annotations

import numpy as np

from benchharness.data.drawn.anatomy import Anatomy
from benchharness.data.drawn.colours import INK, PALE, Coat, Colour, mix
from benchharness.data.drawn.figure import Figure
from benchharness.data.drawn.shapes import (
    Outline,
    blob,
    curve,
    ellipse,
    mirrored,
    ruffled,
    symmetric,
)


def front(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    """Return a head that looks at us, or a little past us."""
    figure = Figure()
    look = rng.uniform(-0.18, 0.18) + 1j * rng.uniform(-0.08, 0.08)
    shape = symmetric(
        [
            0.3 - 0.8j,
            0.75 - 0.6j,
            complex(0.5 + 0.5 * anatomy.cheek, -0.05),
            complex(anatomy.cheek, 0.42),
            complex(0.5 * anatomy.cheek, anatomy.chin * 0.92),
            complex(0.12, anatomy.chin),
        ]
    )
    hanging = anatomy.ears == "drooping"
    if not hanging:
        _ears(figure, anatomy, coat, rng, look)
    figure.fill(ruffled(shape, coat.tufts, rng), coat.fur, depth=0.8)
    _marks(figure, coat, rng, look)
    if hanging:
        _ears(figure, anatomy, coat, rng, look)
    _muzzle(figure, anatomy, coat, rng, look)
    for side in (-1, 1):
        centre = side * (0.5 - 0.35 * anatomy.eye) * (1 + side * 0.3 * look.real) + 0.8 * look
        _eye(figure, anatomy, coat, centre, side)
    return figure


def profile(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    """Return a head that looks to the right."""
    figure = Figure()
    tip = 0.72 + anatomy.snout
    drop = 0.28 + 0.1 * anatomy.snout
    skull = blob(
        [
            -0.1 - 0.85j, 0.5 - 0.62j, complex(0.72, -0.2), complex(tip - 0.06, drop - 0.26),
            complex(tip, drop), complex(tip - 0.12, drop + 0.3), complex(0.5, 0.75),
            -0.3 + 0.8j, -0.85 + 0.2j, -0.7 - 0.5j,
        ]
    )  # fmt: skip
    _ear_beyond(figure, anatomy, coat)
    figure.fill(ruffled(skull, coat.tufts * 0.7, rng), coat.fur, depth=0.7)
    snout = ellipse(
        complex(0.62 + 0.55 * anatomy.snout, drop + 0.08), 0.34 + 0.4 * anatomy.snout, 0.3
    )
    figure.fill(snout, mix(coat.fur, coat.front, 0.8), depth=0.4)
    _ear_near(figure, anatomy, coat)
    figure.fill(
        ellipse(complex(tip, drop - 0.12), anatomy.nose * 0.8, anatomy.nose * 0.75), coat.nose
    )
    mouth = [complex(tip - 0.06, drop + 0.14), complex(tip - 0.3, drop + 0.27), 0.5 + 0.45j]
    figure.line(curve(mouth), mix(coat.front, INK, 0.7), 0.035)
    _eye(figure, anatomy, coat, 0.42 - 0.14j, 1)
    _whiskers(figure, anatomy, coat, rng, complex(tip - 0.2, drop + 0.12), 1)
    _whiskers(figure, anatomy, coat, rng, complex(tip - 0.25, drop + 0.12), -1)
    return figure


def _ears(
    figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator, look: complex
) -> None:
    """Add both ears, the one we look past a little narrower."""
    spread = rng.uniform(-0.12, 0.12)
    for side in (-1, 1):
        outer, inner = _ear(anatomy, spread)
        narrow = 1.0 - side * 0.35 * look.real
        for outline, colour, depth in (
            (outer, _ear_colour(coat), 0.5),
            (inner, coat.inner_ear, 0.0),
        ):
            if len(outline):
                turned = outline.real * narrow + 1j * outline.imag
                placed = (turned if side > 0 else mirrored(turned)) + 0.3 * look
                figure.fill(placed, colour, depth=depth)


def _ear(anatomy: Anatomy, spread: float) -> tuple[Outline, Outline]:
    """Return the right ear and what shows of its inside."""
    n = anatomy.ear_length
    if anatomy.ears == "pointed":
        tip = 0.72 + spread - 1j * (0.55 + n)
        outer = np.array(
            [0.14 - 0.72j, 0.38 - 0.78j - 0.45j * n, tip, 0.94 - 0.5j * n - 0.35j, 0.93 - 0.2j]
        )
        return outer, (outer - tip) * 0.62 + tip + 0.2j
    if anatomy.ears == "folded":
        root, fold = 0.3 - 0.72j, 0.72 + spread - 1j * (0.5 + 0.6 * n)
        flap = blob(
            [root - 0.1j, fold - 0.08, fold + 0.2 + 0.12j, fold + 0.42 + 0.62j * n, 0.84 - 0.32j]
        )
        return flap, blob(
            [fold + 0.04 + 0.1j, fold + 0.3 + 0.3j * n, fold + 0.24 + 0.5j * n, 0.62 - 0.6j]
        )
    fall = complex(1.12 + spread, -0.55 + n)
    hanging = [
        0.4 - 0.8j,
        0.85 - 0.78j,
        1.14 - 0.3j,
        fall + 0.1 - 0.3j,
        fall - 0.1,
        fall - 0.36 - 0.2j,
        0.72 - 0.2j,
    ]
    return blob(hanging), np.empty(0, dtype=np.complex128)


def _ear_beyond(figure: Figure, anatomy: Anatomy, coat: Coat) -> None:
    if anatomy.ears == "pointed":
        _, colour = None, mix(_ear_colour(coat), INK, 0.25)
        n = anatomy.ear_length
        figure.fill(np.array([0.1 - 0.7j, 0.28 - 0.6j - 1j * n, 0.5 - 0.5j]), colour)


def _ear_near(figure: Figure, anatomy: Anatomy, coat: Coat) -> None:
    n, colour = anatomy.ear_length, _ear_colour(coat)
    if anatomy.ears == "pointed":
        ear = np.array(
            [
                -0.55 - 0.55j,
                -0.35 - 0.7j - 0.5j * n,
                -0.12 - 0.6j - 1j * n,
                0.12 - 0.6j - 0.5j * n,
                0.2 - 0.55j,
            ]
        )
        figure.fill(ear, colour, depth=0.3)
        figure.fill((ear - ear[2]) * 0.6 + ear[2] + 0.22j, coat.inner_ear)
    elif anatomy.ears == "folded":
        figure.fill(
            blob(
                [
                    -0.5 - 0.6j,
                    -0.3 - 0.75j - 0.4j * n,
                    0.1 - 0.75j - 0.3j * n,
                    0.3 - 0.3j,
                    -0.1 - 0.45j,
                ]
            ),
            colour,
            depth=0.5,
        )
    else:
        figure.fill(
            blob(
                [
                    -0.45 - 0.6j,
                    0.0 - 0.65j,
                    0.12 - 0.1j,
                    complex(0.0, -0.6 + n),
                    complex(-0.35, -0.55 + n),
                    -0.55 + 0.1j,
                ]
            ),
            colour,
            depth=0.6,
        )


def _ear_colour(coat: Coat) -> Colour:
    return coat.marks if coat.pattern in ("points", "patches") else coat.ear


def _marks(figure: Figure, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    """Add the forehead's stripes, or a patch around an eye."""
    if coat.pattern == "stripes":
        for x in (-0.3, 0.0, 0.3):
            wedge = np.array([x - 0.05 - 0.78j, x + 0.05 - 0.78j, x * 0.6 - 0.3j])
            figure.fill(wedge + 0.5 * look, coat.marks)
        for side in (-1, 1):
            for y in (0.12, 0.32):
                cheek = np.array([0.9 + 1j * (y - 0.06), 0.88 + 1j * (y + 0.05), 0.58 + 1j * y])
                figure.fill(cheek if side > 0 else mirrored(cheek), coat.marks)
    elif coat.pattern == "patches":
        side = 1 if rng.random() < 0.5 else -1
        figure.fill(
            ellipse(side * 0.45 - 0.2j + look, 0.4, rng.uniform(0.35, 0.5), side * 0.4), coat.marks
        )
    elif rng.random() < 0.3:
        figure.fill(
            symmetric([0.05 - 0.75j, 0.1 - 0.2j, 0.25 + 0.3j]) + look, mix(coat.fur, PALE, 0.7)
        )


def _muzzle(
    figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator, look: complex
) -> None:
    """Add muzzle, nose, mouth and whiskers; what stands out moves most when the head turns."""
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
        _whiskers(figure, anatomy, coat, rng, nose + side * 0.22 + 0.14j, side)
    n = anatomy.nose
    tip = symmetric(
        [complex(0.5 * n, -0.62 * n), complex(n, -0.25 * n), complex(0.25 * n, 0.7 * n)]
    )
    figure.fill(nose + tip, coat.nose)
    figure.fill(
        nose + ellipse(complex(-0.3 * n, -0.3 * n), 0.25 * n, 0.12 * n), mix(coat.nose, PALE, 0.5)
    )


def _eye(figure: Figure, anatomy: Anatomy, coat: Coat, centre: complex, side: int) -> None:
    """Add an eye: rim, iris, pupil and the light in it."""
    r, slant = anatomy.eye, -0.22 * side * anatomy.almond
    tall = r * (1.0 - 0.22 * anatomy.almond)
    corner = r * (1.0 + 0.35 * anatomy.almond)
    turn = np.exp(1j * slant)
    shape = blob(
        [
            corner,
            0.5 * r + 0.85j * tall,
            -0.5 * r + 0.85j * tall,
            -corner,
            -0.5 * r - 0.9j * tall,
            0.5 * r - 0.9j * tall,
        ]
    )
    figure.fill(centre + 1.12 * shape * turn, mix(coat.fur, INK, 0.75))
    figure.fill(centre + shape * turn, coat.iris)
    figure.fill(ellipse(centre, anatomy.pupil * r, 0.8 * tall), INK)
    figure.fill(ellipse(centre - 0.3 * r - 0.35j * r, 0.2 * r, 0.2 * r), (248, 248, 248))


def _whiskers(
    figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator, root: complex, side: int
) -> None:
    if not anatomy.whiskers:
        return
    colour = PALE if sum(coat.fur) < 480 else mix(coat.fur, INK, 0.5)
    for tilt in (-0.25, 0.0, 0.25):
        reach = side * anatomy.whiskers * np.exp(1j * side * (tilt + rng.normal(0, 0.06)))
        figure.line(curve([root, root + 0.5 * reach - 0.03j, root + reach + 0.06j]), colour, 0.022)

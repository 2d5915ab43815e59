"""What surrounds the animal: rooms, gardens, blankets, things in the way; the same for both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchharness.data.drawn.colours import INK, PALE, Colour, choose, mix, varied
from benchharness.data.drawn.figure import Figure
from benchharness.data.drawn.shapes import blob, box, curve, ellipse, ribbon

PAINTS: tuple[Colour, ...] = (
    (196, 186, 170), (222, 214, 200), (150, 160, 168), (120, 130, 112), (168, 140, 112),
    (104, 92, 84), (176, 120, 104), (92, 110, 132), (200, 178, 130), (74, 78, 80),
    (142, 106, 128), (232, 228, 224), (110, 142, 96), (152, 180, 200),
)  # fmt: skip
Scene = Callable[[float, float, np.random.Generator], Figure]


def backdrop(width: float, height: float, rng: np.random.Generator) -> Figure:
    """Return a background that fills width x height, with clutter."""
    figure = choose(rng, (_room, _room, _garden, _blanket))(width, height, rng)
    for _ in range(int(rng.integers(0, 4))):
        figure.extend(_thing(width, height, rng))
    return figure


def obstacle(left: complex, right: complex, rng: np.random.Generator) -> Figure:
    """Return something in front of the animal, whose bounds run from left to right corner."""
    size = right - left
    kind = int(rng.integers(4))
    colour = paint(rng)
    if kind == 0:
        return _grass(left.real, right.real, right.imag, size.imag * rng.uniform(0.15, 0.35), rng)
    figure = Figure()
    if kind == 1:
        top = right.imag - size.imag * rng.uniform(0.1, 0.3)
        figure.fill(
            box(left.real - size.real, top, right.real + size.real, right.imag + size.imag), colour
        )
        figure.fill(
            box(left.real - size.real, top, right.real + size.real, top + 0.04 * size.imag),
            mix(colour, PALE, 0.3),
        )
    elif kind == 2:
        x = left.real + size.real * rng.uniform(0.0, 1.0)
        w = size.real * rng.uniform(0.02, 0.05)
        figure.fill(box(x - w, left.imag - size.imag, x + w, right.imag + size.imag), colour)
    else:
        centre = complex(
            left.real + size.real * rng.uniform(0.0, 1.0),
            right.imag - size.imag * rng.uniform(0.0, 0.2),
        )
        r = size.imag * rng.uniform(0.12, 0.24)
        figure.fill(ellipse(centre, r * rng.uniform(1.0, 1.6), r), colour, depth=0.9)
    return figure


def paint(rng: np.random.Generator) -> Colour:
    """Return a colour for a thing, neither fur nor skin."""
    return varied(choose(rng, PAINTS), rng, 16.0)


def _room(width: float, height: float, rng: np.random.Generator) -> Figure:
    figure, floor = Figure(), height * rng.uniform(0.45, 0.9)
    figure.fill(box(0, 0, width, floor), paint(rng))
    figure.fill(box(0, floor, width, height), paint(rng))
    figure.fill(box(0, floor - height * 0.02, width, floor), mix(paint(rng), PALE, 0.4))
    if rng.random() < 0.5:
        x, y = width * rng.uniform(-0.1, 0.7), height * rng.uniform(-0.1, 0.2)
        w, h = width * rng.uniform(0.2, 0.5), height * rng.uniform(0.2, 0.45)
        figure.fill(box(x, y, x + w, y + h), mix(paint(rng), INK, 0.3))
        figure.fill(
            box(x + w * 0.08, y + h * 0.08, x + w * 0.92, y + h * 0.92), mix(paint(rng), PALE, 0.4)
        )
    return figure


def _garden(width: float, height: float, rng: np.random.Generator) -> Figure:
    figure, horizon = Figure(), height * rng.uniform(0.15, 0.6)
    figure.fill(box(0, 0, width, horizon), varied((170, 190, 204), rng, 20))
    figure.fill(box(0, horizon, width, height), varied((116, 132, 78), rng, 24))
    for _ in range(int(rng.integers(0, 5))):
        bush = complex(width * rng.uniform(0, 1), horizon * rng.uniform(0.7, 1.0))
        figure.fill(
            ellipse(bush, width * rng.uniform(0.06, 0.2), height * rng.uniform(0.06, 0.2)),
            varied((84, 104, 66), rng, 20),
            depth=0.5,
        )
    figure.extend(_grass(0, width, height, height * rng.uniform(0.1, 0.4), rng))
    return figure


def _blanket(width: float, height: float, rng: np.random.Generator) -> Figure:
    figure, ground = Figure(), paint(rng)
    figure.fill(box(0, 0, width, height), ground)
    other, pitch = mix(ground, paint(rng), 0.5), width * rng.uniform(0.06, 0.25)
    slope = rng.uniform(-0.5, 0.5) * height
    for x in np.arange(-0.5 * height, width + 0.5 * height, 2 * pitch):
        figure.fill(
            np.array(
                [
                    x - slope,
                    x - slope + pitch,
                    x + pitch + slope + 1j * height,
                    x + slope + 1j * height,
                ]
            ),
            other,
        )
    if rng.random() < 0.4:
        for y in np.arange(0.0, height, 2 * pitch):
            figure.fill(box(0, y, width, y + 0.6 * pitch), mix(other, ground, 0.5))
    return figure


def _grass(
    left: float, right: float, bottom: float, tall: float, rng: np.random.Generator
) -> Figure:
    figure = Figure()
    greens = [varied((104, 128, 66), rng, 18) for _ in range(4)]
    for x in rng.uniform(left, right, 26):
        tip = complex(x + rng.normal(0, 0.3) * tall, bottom - tall * rng.uniform(0.5, 1.2))
        blade = np.array([x - 0.05 * tall + 1j * bottom, tip, x + 0.05 * tall + 1j * bottom])
        figure.fill(blade, choose(rng, greens))
    return figure


def _thing(width: float, height: float, rng: np.random.Generator) -> Figure:
    """Return a toy, a book, a leaf, a stick or a cushion; several are as round or pointed as ears."""
    figure, colour = Figure(), paint(rng)
    r = min(width, height) * rng.uniform(0.05, 0.17)
    turn = complex(np.exp(1j * rng.uniform(0, 2 * np.pi)))
    kind = int(rng.integers(5))
    if kind == 0:
        figure.fill(ellipse(0, r, r), colour, depth=0.9)
    elif kind == 1:
        figure.fill(box(-r, -0.6 * r, r, 0.6 * r), colour, depth=0.3)
    elif kind == 2:
        figure.fill(np.array([-r + 0.6j * r, 1.4 * r + 0j, -r - 0.6j * r]), colour, depth=0.3)
    elif kind == 3:
        figure.fill(ribbon([-2 * r, 0.4j * r, 2 * r], 0.2 * r, 0.1 * r), colour)
        figure.line(curve([-2 * r, -0.4j * r, 2 * r]), mix(colour, INK, 0.3), 0.05 * r)
    else:
        figure.fill(
            blob(
                [
                    -r - r * 1j,
                    -0.85j * r,
                    r - r * 1j,
                    0.85 * r,
                    r + r * 1j,
                    0.85j * r,
                    -r + r * 1j,
                    -0.85 * r,
                ]
            ),
            colour,
            depth=0.5,
        )
    return figure.moved(turn, complex(width * rng.uniform(0, 1), height * rng.uniform(0, 1)))

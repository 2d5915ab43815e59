"""Scenes: rooms, gardens and blankets, and things that lie about or stand in the way.

They are the same for cats and dogs. Some of the things are as round or as pointed as an ear.
"""

from __future__ import annotations

import numpy as np

from zoo.figure import (
    INK,
    PALE,
    Colour,
    Figure,
    Outline,
    blob,
    box,
    choose,
    curve,
    ellipse,
    mix,
    ribbon,
    varied,
)

_PAINTS: tuple[Colour, ...] = (
    (196, 186, 170), (222, 214, 200), (150, 160, 168), (120, 130, 112), (168, 140, 112),
    (104, 92, 84), (176, 120, 104), (92, 110, 132), (200, 178, 130), (74, 78, 80),
    (142, 106, 128), (232, 228, 224), (110, 142, 96), (152, 180, 200),
)  # fmt: skip
# Outlines of things that lie about, and how round they look.
_CUSHION = [-1 - 1j, -0.85j, 1 - 1j, 0.85, 1 + 1j, 0.85j, -1 + 1j, -0.85]
_THINGS: dict[str, tuple[Outline, float]] = {
    "ball": (ellipse(0, 1.0, 1.0), 0.9),
    "book": (box(-1.0, -0.6, 1.0, 0.6), 0.3),
    "leaf": (np.array([-1 + 0.6j, 1.4 + 0j, -1 - 0.6j]), 0.3),
    "stick": (ribbon([-2, 0.4j, 2], 0.2, 0.1), 0.0),
    "cushion": (blob(_CUSHION), 0.5),
}


def paint(rng: np.random.Generator) -> Colour:
    """Return a colour for a wall or a thing."""
    return varied(choose(rng, _PAINTS), rng, 16.0)


def backdrop(width: float, height: float, rng: np.random.Generator) -> Figure:
    """Return a background that fills width x height, with up to three things in it."""
    figure = choose(rng, (_room, _room, _garden, _blanket))(width, height, rng)
    for _ in range(int(rng.integers(4))):
        figure.extend(_clutter(width, height, rng))
    return figure


def _room(width: float, height: float, rng: np.random.Generator) -> Figure:
    figure, floor = Figure(), height * rng.uniform(0.45, 0.9)
    figure.fill(box(0, 0, width, floor), paint(rng))
    figure.fill(box(0, floor, width, height), paint(rng))
    figure.fill(box(0, floor - height * 0.02, width, floor), mix(paint(rng), PALE, 0.4))
    if rng.random() < 0.5:
        x, y = width * rng.uniform(-0.1, 0.7), height * rng.uniform(-0.1, 0.2)
        w, h = width * rng.uniform(0.2, 0.5), height * rng.uniform(0.2, 0.45)
        figure.fill(box(x, y, x + w, y + h), mix(paint(rng), INK, 0.3))
        pane = box(x + w * 0.08, y + h * 0.08, x + w * 0.92, y + h * 0.92)
        figure.fill(pane, mix(paint(rng), PALE, 0.4))
    return figure


def _garden(width: float, height: float, rng: np.random.Generator) -> Figure:
    figure, horizon = Figure(), height * rng.uniform(0.15, 0.6)
    figure.fill(box(0, 0, width, horizon), varied((170, 190, 204), rng, 20))
    figure.fill(box(0, horizon, width, height), varied((116, 132, 78), rng, 24))
    for _ in range(int(rng.integers(5))):
        centre = complex(width * rng.uniform(0, 1), horizon * rng.uniform(0.7, 1.0))
        bush = ellipse(centre, width * rng.uniform(0.06, 0.2), height * rng.uniform(0.06, 0.2))
        figure.fill(bush, varied((84, 104, 66), rng, 20), depth=0.5)
    figure.extend(_grass(0, width, height, height * rng.uniform(0.1, 0.4), rng))
    return figure


def _blanket(width: float, height: float, rng: np.random.Generator) -> Figure:
    """Return slanting stripes, at times crossed by level ones."""
    figure, ground = Figure(), paint(rng)
    figure.fill(box(0, 0, width, height), ground)
    other, pitch = mix(ground, paint(rng), 0.5), width * rng.uniform(0.06, 0.25)
    slope = height * rng.uniform(-0.5, 0.5)
    top, bottom = -slope, slope + 1j * height
    for x in np.arange(-0.5 * height, width + 0.5 * height, 2 * pitch):
        corners = [x + top, x + top + pitch, x + bottom + pitch, x + bottom]
        figure.fill(np.array(corners, dtype=np.complex128), other)
    if rng.random() < 0.4:
        for y in np.arange(0.0, height, 2 * pitch):
            figure.fill(box(0, y, width, y + 0.6 * pitch), mix(other, ground, 0.5))
    return figure


def _clutter(width: float, height: float, rng: np.random.Generator) -> Figure:
    """Return a ball, book, leaf, stick or cushion somewhere within width x height."""
    name = choose(rng, tuple(_THINGS))
    colour, thing = paint(rng), Figure()
    outline, depth = _THINGS[name]
    thing.fill(outline, colour, depth=depth)
    if name == "stick":
        thing.line(curve([-2, -0.4j, 2]), mix(colour, INK, 0.3), 0.05)
    size = min(width, height) * rng.uniform(0.05, 0.17)
    turn = complex(np.exp(1j * rng.uniform(0, 2 * np.pi)))
    return thing.moved(size * turn, complex(width * rng.uniform(0, 1), height * rng.uniform(0, 1)))


def obstacle(low: complex, high: complex, rng: np.random.Generator) -> Figure:
    """Return grass, a ledge, a post or a ball before an animal, most of which stays in sight.

    Args:
        low: Upper left corner of the animal's bounds.
        high: Lower right corner.
    """
    kind = choose(rng, ("grass", "ledge", "post", "ball"))
    size, colour, figure = high - low, paint(rng), Figure()
    x = low.real + size.real * rng.uniform(0.0, 1.0)
    share = rng.uniform(0.0, 1.0)
    if kind == "grass":
        return _grass(low.real, high.real, high.imag, size.imag * (0.15 + 0.2 * share), rng)
    if kind == "ledge":
        left, right = low.real - size.real, high.real + size.real
        top, edge = high.imag - size.imag * (0.1 + 0.2 * share), 0.04 * size.imag
        figure.fill(box(left, top, right, high.imag + size.imag), colour)
        figure.fill(box(left, top, right, top + edge), mix(colour, PALE, 0.3))
    elif kind == "post":
        half = size.real * (0.02 + 0.03 * share)
        figure.fill(box(x - half, low.imag - size.imag, x + half, high.imag + size.imag), colour)
    else:
        r = size.imag * (0.12 + 0.12 * share)
        figure.fill(ellipse(complex(x, high.imag - 0.5 * r), 1.2 * r, r), colour, depth=0.9)
    return figure


def _grass(
    left: float, right: float, bottom: float, tall: float, rng: np.random.Generator
) -> Figure:
    """Return blades of grass that stand on the bottom, about so tall."""
    figure = Figure()
    greens = [varied((104, 128, 66), rng, 18) for _ in range(4)]
    for x in rng.uniform(left, right, 26):
        tip = complex(x + rng.normal(0, 0.3) * tall, bottom - tall * rng.uniform(0.5, 1.2))
        blade = np.array([x - 0.05 * tall + 1j * bottom, tip, x + 0.05 * tall + 1j * bottom])
        figure.fill(blade, choose(rng, greens))
    return figure

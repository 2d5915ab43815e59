"""What is behind the animal: rooms, gardens and blankets, the same for cats and dogs."""

from __future__ import annotations

import numpy as np

from benchharness.data.drawn.colours import INK, PALE, choose, mix, varied
from benchharness.data.drawn.figure import Figure
from benchharness.data.drawn.shapes import box, ellipse
from benchharness.data.drawn.things import clutter, grass, paint


def backdrop(width: float, height: float, rng: np.random.Generator) -> Figure:
    """Return a background that fills width x height, with up to three things in it."""
    figure = choose(rng, (_room, _room, _garden, _blanket))(width, height, rng)
    for _ in range(int(rng.integers(4))):
        figure.extend(clutter(width, height, rng))
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
    figure.extend(grass(0, width, height, height * rng.uniform(0.1, 0.4), rng))
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

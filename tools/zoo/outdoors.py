"""Objects from outdoors: buildings, vehicles and plants."""

from __future__ import annotations

import numpy as np

from zoo.figure import (
    INK,
    LIGHT,
    PALE,
    Figure,
    blob,
    box,
    choose,
    curve,
    ellipse,
    mix,
    ribbon,
    ruffled,
    varied,
)
from zoo.scene import paint


def boat(rng: np.random.Generator) -> Figure:
    """Return a sailing boat."""
    figure, hull, sail = Figure(), paint(rng), mix(paint(rng), PALE, 0.5)
    n, tall, x = rng.uniform(1.3, 1.7), rng.uniform(1.8, 2.6), rng.uniform(-0.25, 0.15)
    figure.fill(box(x - 0.05, -tall - 0.1, x + 0.05, 0.1), mix(paint(rng), INK, 0.4))
    figure.fill(np.array([x + 0.1 - 0.2j, x + 0.1 - 1j * tall, n * 0.85 - 0.2j]), sail, depth=0.4)
    if rng.random() < 0.6:
        jib = np.array([x - 0.1 - 0.25j, x - 0.1 - 0.85j * tall, -n * 0.75 - 0.25j])
        figure.fill(jib, mix(sail, paint(rng), 0.3), depth=0.3)
    deck = [complex(-n, 0.0), complex(n * 1.1, -0.05), complex(n * 0.75, 0.55), -0.75 * n + 0.55j]
    figure.fill(np.array(deck), hull, depth=0.5)
    figure.line(np.array([-0.95 * n + 0.15j, n + 0.12j]), mix(hull, PALE, 0.6), 0.08)
    return figure


def car(rng: np.random.Generator) -> Figure:
    """Return a car seen from the side."""
    figure, paintwork, n = Figure(), paint(rng), rng.uniform(1.6, 2.0)
    roof, glass = rng.uniform(0.6, 0.9), mix(paint(rng), PALE, 0.5)
    back, front = -n * rng.uniform(0.5, 0.95), n * rng.uniform(0.3, 0.45)
    top = [complex(back * 0.85, -roof), complex(front * 0.5, -roof), complex(front * 1.5, 0.0)]
    figure.fill(np.array([complex(back, 0.0), *top]), paintwork, depth=0.3)
    middle = 0.4 * (back + front) * 0.5
    for left, right in ((back * 0.8, middle - 0.06), (middle + 0.06, front)):
        upper = complex(min(right, front * 0.5), -roof + 0.12)
        pane = [complex(left, -0.05), complex(left + 0.08, -roof + 0.12), upper, right - 0.05j]
        figure.fill(np.array(pane), glass)
    body = [complex(-n, 0.05), complex(n * 0.6, -0.08), complex(n, 0.15), complex(n, 0.6)]
    figure.fill(np.array([*body, complex(-n, 0.6)]), paintwork, depth=0.5)
    figure.fill(ellipse(n - 0.12 + 0.28j, 0.12, 0.1), mix(LIGHT, paintwork, 0.1))
    r = rng.uniform(0.34, 0.42)
    for x in (-0.58 * n, 0.58 * n):
        figure.fill(ellipse(x + 0.6j, r, r), (34, 32, 34))
        figure.fill(ellipse(x + 0.6j, 0.5 * r, 0.5 * r), (168, 168, 170), depth=0.5)
    return figure


def flower(rng: np.random.Generator) -> Figure:
    """Return a flower on its stem."""
    figure, petal, green = Figure(), paint(rng), varied((84, 116, 58), rng, 18)
    count, tall, bend = int(rng.integers(5, 10)), rng.uniform(1.4, 2.6), rng.normal(0, 0.25)
    figure.fill(ribbon([0j, complex(bend, 0.6 * tall), 1j * tall], 0.08, 0.08), green)
    for side in (-1, 1):
        root = complex(0.7 * bend, tall * rng.uniform(0.5, 0.8))
        leaf = [root, root + side * 0.4 - 0.35j, root + side * 0.95 - 0.3j, root + side * 0.45]
        figure.fill(blob(leaf), green, depth=0.4)
    for turn in np.arange(count) * 2 * np.pi / count + rng.uniform(0, 1):
        centre = 0.62 * complex(np.cos(turn), np.sin(turn))
        figure.fill(ellipse(centre, 0.46, 1.7 / count, turn), petal, depth=0.4)
    figure.fill(ellipse(0j, 0.34, 0.34), mix(paint(rng), INK, 0.2), depth=0.6)
    return figure


def house(rng: np.random.Generator) -> Figure:
    """Return a house with a gable, a door and windows."""
    figure, wall, roof = Figure(), paint(rng), mix(paint(rng), INK, 0.3)
    half, tall, gable = rng.uniform(0.9, 1.3), rng.uniform(1.0, 1.6), rng.uniform(0.6, 1.1)
    x = half * rng.uniform(0.3, 0.7)
    figure.fill(box(x - 0.13, -gable, x + 0.13, 0.0), mix(wall, INK, 0.4))
    figure.fill(box(-half, 0.0, half, tall), wall, depth=0.2)
    figure.fill(np.array([-half * 1.2 + 0.05j, -1j * gable, half * 1.2 + 0.05j]), roof, depth=0.2)
    door = half * rng.uniform(-0.6, 0.3)
    figure.fill(box(door, tall - 0.75, door + 0.42, tall), mix(paint(rng), INK, 0.3))
    for left in (-0.75 * half, 0.35 * half):
        top = 0.15 * tall
        figure.fill(box(left, top, left + 0.4, top + 0.4), mix(wall, PALE, 0.7))
        figure.fill(
            box(left + 0.05, top + 0.05, left + 0.35, top + 0.35), mix(paint(rng), INK, 0.2)
        )
    return figure


def mushroom(rng: np.random.Generator) -> Figure:
    """Return a mushroom, most often with dots."""
    figure, cap, stem = Figure(), paint(rng), mix(paint(rng), PALE, 0.6)
    tall, high, thick = rng.uniform(0.8, 1.5), rng.uniform(0.6, 1.2), rng.uniform(0.2, 0.36)
    trunk = [complex(-thick, -0.1), complex(thick, -0.1), complex(1.4 * thick, tall)]
    figure.fill(np.array([*trunk, complex(-1.4 * thick, tall)]), stem, depth=0.4)
    dome = [-1.05 + 0.1j, complex(-0.8, -0.6 * high), -1j * high, complex(0.8, -0.6 * high)]
    figure.fill(blob([*dome, 1.05 + 0.1j, 0.12j]), cap, depth=0.7)
    if rng.random() < 0.8:
        for x, y in ((-0.5, 0.35), (0.0, 0.65), (0.5, 0.4), (0.15, 0.25)):
            figure.fill(ellipse(complex(x, -y * high), 0.13, 0.1), mix(cap, PALE, 0.8))
    figure.line(curve([-1 + 0.12j, 0.22j, 1 + 0.12j]), mix(cap, INK, 0.4), 0.06)
    return figure


def tree(rng: np.random.Generator) -> Figure:
    """Return a leafy tree or a fir."""
    figure, leaves = Figure(), varied((82, 112, 60), rng, 26)
    tall = rng.uniform(0.9, 1.6)
    figure.fill(
        ribbon([0j, 0.03 + 0.5j * tall, 1j * tall], 0.16, 0.22), varied((96, 70, 48), rng, 12)
    )
    if choose(rng, ("leafy", "fir")) == "fir":
        for step in range(3):
            half, top = 0.6 + 0.25 * step, -1.8 + 0.55 * step
            tier = [complex(-half, top + 0.95), complex(0.0, top), complex(half, top + 0.95)]
            figure.fill(np.array(tier), mix(leaves, INK, 0.1 * (2 - step)), depth=0.4)
        return figure
    for centre in (-0.6 - 0.3j, 0.6 - 0.35j, -0.3 - 0.95j, 0.35 - 0.9j, -0.45j):
        r = rng.uniform(0.55, 0.75)
        crown = ruffled(ellipse(centre, r, 0.9 * r), 0.05, rng)
        figure.fill(crown, varied(leaves, rng, 6), depth=0.6)
    return figure

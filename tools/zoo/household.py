"""Objects from indoors, in paints that they share with walls and clutter."""

from __future__ import annotations

import numpy as np

from zoo.figure import (
    INK,
    LIGHT,
    PALE,
    Figure,
    blob,
    box,
    curve,
    ellipse,
    mix,
    symmetric,
)
from zoo.scene import paint


def bottle(rng: np.random.Generator) -> Figure:
    """Return a bottle with a label."""
    figure, glass = Figure(), paint(rng)
    tall, half, neck = rng.uniform(2.4, 3.4), rng.uniform(0.45, 0.7), rng.uniform(0.16, 0.26)
    shoulder = tall * rng.uniform(0.3, 0.45)
    right = [neck + 0j, complex(neck, 0.75 * shoulder), complex(half, 1.1 * shoulder),
             complex(half, 0.95 * tall), complex(0.8 * half, tall)]  # fmt: skip
    outline = np.array([*right, *(-np.conj(right[::-1]))])
    figure.fill(outline, glass, depth=0.6)
    figure.fill(box(-neck * 1.2, -0.25, neck * 1.2, 0.08), mix(paint(rng), INK, 0.3))
    figure.fill(box(-half, 0.55 * tall, half, 0.8 * tall), mix(paint(rng), PALE, 0.5))
    gleam = np.array([complex(-0.6 * half, 1.2 * shoulder), complex(-0.6 * half, 0.92 * tall)])
    figure.line(gleam, mix(glass, LIGHT, 0.6), 0.08)
    return figure


def chair(rng: np.random.Generator) -> Figure:
    """Return a chair seen from the front and a little from the side."""
    figure, wood = Figure(), paint(rng)
    half, tall = rng.uniform(0.7, 0.95), rng.uniform(1.3, 1.9)
    leg, skew, post = rng.uniform(1.0, 1.5), rng.uniform(0.15, 0.45), rng.uniform(0.07, 0.13)
    dark, light = mix(wood, INK, 0.3), mix(wood, PALE, 0.2)
    for x in (-half + skew, half + skew - post):
        figure.fill(box(x, -tall, x + post, leg - 0.3), dark)
    slats = int(rng.integers(1, 4))
    for y in np.linspace(-tall, -0.5, slats, endpoint=False):
        figure.fill(box(-half + skew, y, half + skew, y + 0.75 * (tall - 0.5) / slats), wood)
    seat = [complex(-half + skew, -0.2), complex(half + skew, -0.2), half + 0.2j, -half + 0.2j]
    figure.fill(np.array(seat), light)
    figure.fill(box(-half, 0.2, half, 0.2 + 1.2 * post), wood)
    for x in (-half, half - post):
        figure.fill(box(x, 0.2, x + post, leg), wood)
    return figure


def cup(rng: np.random.Generator) -> Figure:
    """Return a cup with its handle to the right."""
    figure, china = Figure(), paint(rng)
    tall, foot = rng.uniform(1.1, 1.8), rng.uniform(0.55, 0.95)
    loop = [0.8 + 0.25j, 1.4 + 0.2j, complex(1.45, 0.7 * tall), complex(0.7, 0.75 * tall)]
    figure.line(curve(loop), mix(china, INK, 0.15), 0.18)
    wall = np.array([-1 + 0j, 1 + 0j, complex(foot, tall), complex(-foot, tall)])
    figure.fill(wall, china, depth=0.5)
    figure.fill(ellipse(1j * tall, foot, 0.14), china)
    if rng.random() < 0.5:
        y = tall * rng.uniform(0.3, 0.6)
        figure.fill(box(-0.85, y, 0.85, y + 0.2), mix(china, paint(rng), 0.8))
    figure.fill(ellipse(0j, 1.0, 0.22), mix(china, PALE, 0.4))
    figure.fill(ellipse(0.03j, 0.88, 0.16), mix(paint(rng), INK, 0.5))
    return figure


def lamp(rng: np.random.Generator) -> Figure:
    """Return a standing lamp with a shade."""
    figure, shade, metal = Figure(), paint(rng), mix(paint(rng), INK, 0.4)
    tall, top, rim = rng.uniform(1.6, 2.8), rng.uniform(0.35, 0.7), rng.uniform(0.9, 1.2)
    high = rng.uniform(0.8, 1.2)
    figure.fill(box(-0.07, 0.0, 0.07, tall), metal)
    if rng.random() < 0.5:
        figure.fill(blob([-0.08 + 0.4j * tall, 0.08 + 0.4j * tall, 0.3 + 0.7j * tall,
                          -0.3 + 0.7j * tall]), metal, depth=0.6)  # fmt: skip
    figure.fill(
        symmetric([0.1 + 1j * (tall - 0.2), 0.6 + 1j * tall, 0.3 + 1j * (tall + 0.1)]), metal
    )
    cone = [complex(-top, -high), complex(top, -high), rim + 0.1j, -rim + 0.1j]
    figure.fill(np.array(cone), mix(shade, LIGHT, 0.3), depth=0.6)
    figure.line(np.array([-rim + 0.1j, rim + 0.1j]), mix(shade, INK, 0.3), 0.07)
    return figure

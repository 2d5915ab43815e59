"""Animals without fur, each drawn in its own way: about one unit is half of what it measures."""

from __future__ import annotations

import numpy as np

from zoo.animal import coat
from zoo.figure import (
    INK,
    PALE,
    WHITE,
    Colour,
    Figure,
    blob,
    curve,
    ellipse,
    mirrored,
    mix,
    ribbon,
    ruffled,
    symmetric,
    varied,
)

_BEAK: Colour = (222, 160, 60)


def duck(rng: np.random.Generator) -> Figure:
    """Return a duck seen from the side."""
    figure, colours, n = Figure(), coat(rng), rng.uniform(1.2, 1.6)
    head, r = complex(n * 0.9, -rng.uniform(0.8, 1.3)), rng.uniform(0.38, 0.5)
    for x in (-0.1, 0.25):
        foot = x + 1.15j
        figure.line(np.array([x + 0.6j, foot]), _BEAK, 0.1)
        figure.fill(np.array([foot - 0.15j, foot + 0.4, foot - 0.1]), _BEAK)
    tail = [complex(-n, -0.1), complex(-n * 1.25, -0.55), complex(-0.6 * n, -0.45)]
    body = blob([*tail, 0.2 - 0.4j, complex(n, -0.3), complex(0.8 * n, 0.5), 0.7j, -0.8 * n + 0.5j])
    figure.fill(ruffled(body, colours.tufts, rng), colours.fur, depth=0.7)
    figure.fill(ribbon([complex(n * 0.75, 0.0), head + 0.4j, head], 0.4, r * 0.75), colours.fur)
    beak = [head + 0.7 * r - 0.1j, head + 2.1 * r + 0.08j, head + 0.7 * r + 0.22j]
    figure.fill(np.array(beak), varied(_BEAK, rng, 14))
    figure.fill(ellipse(head, r, r), mix(colours.fur, colours.marks, 0.5), depth=0.6)
    wing = blob([0.5 - 0.15j, 0.3 + 0.35j, -0.9 * n + 0.1j, -0.2 - 0.25j])
    figure.fill(ruffled(wing, colours.tufts, rng), mix(colours.fur, INK, 0.25), depth=0.4)
    _add_round_eye(figure, head + 0.15 - 0.1j, 0.11)
    return figure


def fish(rng: np.random.Generator) -> Figure:
    """Return a fish that swims to the right."""
    figure, colours, n = Figure(), coat(rng), rng.uniform(1.2, 1.7)
    tall, fin = rng.uniform(0.5, 0.95), mix(colours.fur, colours.marks, 0.6)
    fork = [complex(-n * 1.7, -tall), complex(-n * 1.4, 0.0), complex(-n * 1.7, tall)]
    figure.fill(np.array([complex(-n * 0.8, 0.0), *fork]), fin)
    back = [complex(-0.5 * n, -0.7 * tall), complex(-0.3 * n, -1.6 * tall), complex(0.5 * n, -0.7)]
    figure.fill(blob(back), fin)
    body = blob([complex(n, 0.0), complex(0.3 * n, tall), complex(-n, 0.12), complex(-n, -0.12),
                 complex(0.3 * n, -tall)])  # fmt: skip
    figure.fill(body, colours.fur, depth=0.8)
    if colours.pattern == "stripes":
        for x in (-0.35, 0.0, 0.35):
            half = 0.7j * tall * (1 - abs(x))
            figure.fill(ribbon([x * n - half, x * n + 0.05, x * n + half], 0.1, 0.1), colours.marks)
    figure.fill(np.array([0.1 + 0.1j, -0.35 + 0.45j, -0.3 + 0.05j]), fin)
    figure.line(curve([0.5 * n - 0.5j * tall, 0.38 * n + 0j, 0.5 * n + 0.5j * tall]), INK, 0.03)
    figure.fill(ellipse(0.68 * n - 0.15j, 0.17, 0.17), WHITE)
    _add_round_eye(figure, 0.69 * n - 0.15j, 0.1)
    return figure


def frog(rng: np.random.Generator) -> Figure:
    """Return a frog that sits and looks at us."""
    figure, colours, wide = Figure(), coat(rng), rng.uniform(1.1, 1.4)
    skin = varied((96, 140, 60), rng, 24) if rng.random() < 0.5 else colours.fur
    thigh = blob([0.6 + 0.5j, wide + 0.35 + 0.6j, wide + 0.5 + 1.1j, 0.5 + 1.35j])
    toes = ellipse(wide + 0.25 + 1.3j, 0.5, 0.13)
    for part in (thigh, mirrored(thigh), toes, mirrored(toes)):
        figure.fill(part, mix(skin, INK, 0.15), depth=0.4)
    bulge, r = complex(0.5 * wide, -0.55), rng.uniform(0.32, 0.42)
    for centre in (bulge, -bulge.conjugate()):
        figure.fill(ellipse(centre, r, r), skin, depth=0.4)
    body = symmetric([0.3 - 0.55j, wide - 0.25j, wide + 0.05 + 0.3j, 0.8 + 1.2j, 0.2 + 1.35j])
    figure.fill(body, skin, depth=0.7)
    figure.fill(symmetric([0.1 + 0.5j, 0.55 + 0.7j, 0.35 + 1.2j]), mix(skin, PALE, 0.6))
    smile = [-0.85 * wide - 0.02j, 0.35j, 0.85 * wide - 0.02j]
    figure.line(curve(smile), mix(skin, INK, 0.7), 0.05)
    for centre in (bulge, -bulge.conjugate()):
        figure.fill(ellipse(centre, 0.68 * r, 0.68 * r), colours.iris)
        figure.fill(ellipse(centre, 0.5 * r, 0.22 * r), INK)
    return figure


def owl(rng: np.random.Generator) -> Figure:
    """Return an owl seen from the front."""
    figure, colours, tall = Figure(), coat(rng), rng.uniform(1.6, 2.2)
    horn = rng.uniform(0.05, 0.45)
    tuft = np.array([0.35 - 0.75j, complex(0.85, -0.85 - horn), 0.9 - 0.3j])
    for outline in (tuft, mirrored(tuft)):
        figure.fill(outline, mix(colours.fur, INK, 0.2))
    for side in (-1, 1):
        figure.fill(ellipse(complex(side * 0.32, tall), 0.2, 0.12), _BEAK)
    body = symmetric([0.35 - 0.85j, 0.9 - 0.4j, 0.95 + 0.4j, complex(0.75, 0.8 * tall), 1j * tall])
    figure.fill(ruffled(body, colours.tufts, rng), colours.fur, depth=0.7)
    wing = blob([0.85 + 0.35j, 1.1 + 0.8j, complex(0.8, 0.95 * tall), 0.6 + 0.7j])
    for outline in (wing, mirrored(wing)):
        figure.fill(outline, mix(colours.fur, INK, 0.3), depth=0.3)
    chest = mix(colours.fur, PALE, 0.5)
    for y in np.arange(0.6, 0.8 * tall, 0.28):
        for x in (-0.3, 0.0, 0.3):
            figure.fill(ellipse(complex(x, y), 0.12, 0.08), chest)
    r = rng.uniform(0.4, 0.48)
    for side in (-1, 1):
        figure.fill(ellipse(complex(side * 0.43, -0.15), r, r), chest)
        figure.fill(ellipse(complex(side * 0.4, -0.15), 0.65 * r, 0.65 * r), colours.iris)
        _add_round_eye(figure, complex(side * 0.4, -0.15), 0.4 * r)
    figure.fill(np.array([-0.12 + 0.02j, 0.12 + 0.02j, 0.35j]), varied(_BEAK, rng, 14))
    return figure


def turtle(rng: np.random.Generator) -> Figure:
    """Return a turtle that walks to the right."""
    figure, colours, n = Figure(), coat(rng), rng.uniform(1.3, 1.7)
    skin, tall = varied((116, 130, 84), rng, 20), rng.uniform(0.8, 1.2)
    head = complex(n * 1.35, rng.uniform(-0.5, -0.05))
    figure.fill(np.array([-n + 0.1j, complex(-n * 1.35, 0.4), -n + 0.35j]), skin)
    figure.fill(ribbon([n * 0.7 + 0.2j, n * 1.1 + 0.15j, head], 0.26, 0.22), skin)
    figure.fill(ellipse(head, 0.36, 0.28), skin, depth=0.5)
    for x in (-0.6, -0.3, 0.4, 0.7):
        leg = [x * n + 0.2j, x * n + 0.1 + 0.55j, x * n + 0.15 + 0.8j]
        figure.fill(ribbon(leg, 0.22, 0.2), mix(skin, INK, 0.15 if abs(x) > 0.5 else 0.3))
    rim = [complex(n, 0.3), complex(0.75 * n, 0.5), complex(-0.75 * n, 0.5), complex(-n, 0.3)]
    top = [complex(-0.6 * n, -0.75 * tall), complex(0.0, -tall), complex(0.6 * n, -0.75 * tall)]
    figure.fill(blob([*rim, *top]), colours.fur, depth=0.7)
    for x in (-0.5, 0.0, 0.5):
        plate = 0.24 * n * np.exp(2j * np.pi * np.arange(6) / 6) + complex(x * n, -0.25 * tall)
        figure.fill(plate, mix(colours.fur, INK, 0.35), depth=0.3)
    _add_round_eye(figure, head + 0.12 - 0.06j, 0.07)
    return figure


def _add_round_eye(figure: Figure, centre: complex, r: float) -> None:
    figure.fill(ellipse(centre, r, r), INK)
    figure.fill(ellipse(centre - (0.3 + 0.3j) * r, 0.3 * r, 0.3 * r), WHITE)

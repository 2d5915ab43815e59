"""Heads, from the front and from the side: the eyes near y = 0, half a width is 1."""

from __future__ import annotations

import numpy as np

from benchharness.data.drawn import ears, extras, face
from benchharness.data.drawn.anatomy import Anatomy
from benchharness.data.drawn.colours import INK, Coat, mix
from benchharness.data.drawn.figure import Figure
from benchharness.data.drawn.shapes import blob, curve, ellipse, ruffled, symmetric


def head(anatomy: Anatomy, coat: Coat, rng: np.random.Generator, *, facing: float) -> Figure:
    """Return a head held a little askew.

    Args:
        facing: Chance that it looks at us, and not to the right, 0-1.
    """
    view = _front if rng.random() < facing else _profile
    return view(anatomy, coat, rng).moved(complex(np.exp(1j * rng.normal(0.0, 0.12))), 0j)


def _front(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    figure = Figure()
    look = rng.uniform(-0.18, 0.18) + 1j * rng.uniform(-0.08, 0.08)
    cheek, chin = anatomy.cheek, anatomy.chin
    shape = symmetric([
        0.3 - 0.8j, 0.75 - 0.6j, complex(0.5 + 0.5 * cheek, -0.05),
        complex(cheek, 0.42), complex(0.5 * cheek, chin * 0.92), complex(0.12, chin),
    ])  # fmt: skip
    extras.add_front(figure, anatomy, coat, rng, look, layer="behind")
    # Hanging ears fall over the head; the others stand behind it.
    hanging = anatomy.ears == "drooping"
    if not hanging:
        ears.add_front(figure, anatomy, coat, rng, look)
    figure.fill(ruffled(shape, coat.tufts, rng), coat.fur, depth=0.8)
    face.add_marks(figure, coat, rng, look)
    if hanging:
        ears.add_front(figure, anatomy, coat, rng, look)
    extras.add_front(figure, anatomy, coat, rng, look, layer="under")
    face.add_muzzle(figure, anatomy, coat, rng, look)
    extras.add_front(figure, anatomy, coat, rng, look, layer="over")
    for side in (-1, 1):
        apart = side * (0.5 - 0.35 * anatomy.eye) * (1 + side * 0.3 * look.real)
        face.add_eye(figure, anatomy, coat, apart + 0.8 * look, side)
    return figure


def _profile(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    figure, snout = Figure(), anatomy.snout
    tip, drop = 0.72 + snout, 0.28 + 0.1 * snout
    skull = blob([
        -0.1 - 0.85j, 0.5 - 0.62j, complex(0.72, -0.2), complex(tip - 0.06, drop - 0.26),
        complex(tip, drop), complex(tip - 0.12, drop + 0.3), complex(0.5, 0.75),
        -0.3 + 0.8j, -0.85 + 0.2j, -0.7 - 0.5j,
    ])  # fmt: skip
    extras.add_side(figure, anatomy, coat, rng, layer="behind")
    ears.add_beyond(figure, anatomy, coat)
    figure.fill(ruffled(skull, coat.tufts * 0.7, rng), coat.fur, depth=0.7)
    muzzle = ellipse(complex(0.62 + 0.55 * snout, drop + 0.08), 0.34 + 0.4 * snout, 0.3)
    figure.fill(muzzle, mix(coat.fur, coat.front, 0.8), depth=0.4)
    extras.add_side(figure, anatomy, coat, rng, layer="under")
    ears.add_near(figure, anatomy, coat)
    nose = ellipse(complex(tip, drop - 0.12), anatomy.nose * 0.8, anatomy.nose * 0.75)
    figure.fill(nose, coat.nose)
    mouth = [complex(tip - 0.06, drop + 0.14), complex(tip - 0.3, drop + 0.27), 0.5 + 0.45j]
    figure.line(curve(mouth), mix(coat.front, INK, 0.7), 0.035)
    extras.add_side(figure, anatomy, coat, rng, layer="over")
    face.add_eye(figure, anatomy, coat, 0.42 - 0.14j, 1)
    face.add_whiskers(figure, anatomy, coat, rng, complex(tip - 0.2, drop + 0.12), 1)
    face.add_whiskers(figure, anatomy, coat, rng, complex(tip - 0.25, drop + 0.12), -1)
    return figure

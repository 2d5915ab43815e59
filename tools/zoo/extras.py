"""Ears, and extras such as horns, manes and trunks, that neither cats nor dogs have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from zoo.animal import (
    DROOPING,
    FOLDED,
    NO_OUTLINE,
    POINTED,
    Anatomy,
    Coat,
    Ears,
    Extra,
)
from zoo.figure import (
    INK,
    PALE,
    WHITE,
    Colour,
    Figure,
    Outline,
    blob,
    box,
    curve,
    ellipse,
    mirrored,
    mix,
    ribbon,
    ruffled,
    symmetric,
)

_HORN: Colour = (206, 190, 160)


def _round(n: float, spread: float) -> tuple[Outline, Outline]:
    middle, r = 0.72 + spread - 1j * (0.42 + 0.3 * n), 0.5 * n
    return ellipse(middle, r, r), ellipse(middle + 0.06j, 0.6 * r, 0.62 * r)


def _round_near(n: float) -> tuple[Outline, Outline, float]:
    middle = -0.3 - 0.55j - 0.3j * n
    return ellipse(middle, 0.42 * n, 0.48 * n), ellipse(middle, 0.24 * n, 0.3 * n), 0.4


def _round_beyond(n: float) -> Outline:
    return ellipse(0.22 - 0.62j - 0.28j * n, 0.3 * n, 0.42 * n)


def _long(n: float, spread: float) -> tuple[Outline, Outline]:
    middle, lean = 0.42 + 0.8 * spread - 1j * (0.6 + 0.5 * n), 0.15 + 1.2 * spread
    ear = ellipse(middle, 0.24, 0.5 * n + 0.15, lean)
    return ear, ellipse(middle + 0.05j, 0.13, 0.42 * n, lean)


def _long_near(n: float) -> tuple[Outline, Outline, float]:
    middle = -0.3 - 0.6j - 0.5j * n
    return ellipse(middle, 0.25, 0.5 * n + 0.15, -0.2), ellipse(middle, 0.13, 0.4 * n, -0.2), 0.4


def _long_beyond(n: float) -> Outline:
    return ellipse(0.12 - 0.65j - 0.5j * n, 0.18, 0.5 * n + 0.1, 0.15)


def _level(n: float, spread: float) -> tuple[Outline, Outline]:
    middle, lean = complex(0.78 + 0.5 * n, -0.5 + 0.5 * spread), 0.15 + 2 * spread
    return ellipse(middle, 0.5 * n, 0.22, lean), ellipse(middle, 0.36 * n, 0.12, lean)


def _level_near(n: float) -> tuple[Outline, Outline, float]:
    middle = complex(-0.45 - 0.3 * n, -0.5)
    return ellipse(middle, 0.45 * n, 0.2, 0.3), ellipse(middle, 0.3 * n, 0.1, 0.3), 0.4


def _flapping(n: float, spread: float) -> tuple[Outline, Outline]:
    edge = [1.0 + n * (0.75 + spread) - 0.7j, complex(0.9 + n, 0.15), complex(0.8 + 0.6 * n, 0.95)]
    ear = blob([0.5 - 0.75j, 0.9 - 0.95j, *edge, 0.75 + 0.6j])
    return ear, (ear - 0.6) * 0.7 + 0.62


def _flapping_near(n: float) -> tuple[Outline, Outline, float]:
    back = [complex(-0.5 - 0.7 * n, -0.6), complex(-0.6 - 0.75 * n, 0.3), complex(-0.5, 1.0)]
    return blob([0.1 - 0.7j, *back, 0.05 + 0.4j]), NO_OUTLINE, 0.5


def _antlers(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    beam = _antler(rng.uniform(1.0, 1.6))
    for stroke in beam:
        for outline in (stroke, mirrored(stroke)):
            f.fill(outline + 0.3 * look, mix(_HORN, INK, 0.35))


def _antlers_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    for stroke in _antler(rng.uniform(1.0, 1.6)):
        f.fill(stroke - 0.6, mix(_HORN, INK, 0.35))


def _antler(n: float) -> list[Outline]:
    """Return the beam of a right antler and its two tines."""
    root, bend, tip = 0.35 - 0.7j, 0.75 - 1j * (0.7 + 0.5 * n), 0.7 - 1j * (0.7 + n)
    tines = [(bend, bend + 0.35 * n * (0.7 - 0.6j)), (bend, bend - 0.3 * n * (0.5 + 0.8j))]
    beam = ribbon([root, bend, tip], 0.1, 0.05)
    return [beam, *(ribbon([a, (a + b) / 2, b], 0.07, 0.04) for a, b in tines)]


def _horns(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    n = rng.uniform(0.6, 1.1)
    horn = ribbon([0.35 - 0.65j, 0.75 - 0.75j - 0.3j * n, 0.72 - 0.75j - 1j * n], 0.17, 0.05)
    for outline in (horn, mirrored(horn)):
        f.fill(outline + 0.3 * look, _HORN, depth=0.3)


def _horns_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    n = rng.uniform(0.6, 1.1)
    horn = ribbon([0.15 - 0.65j, -0.05 - 0.75j - 0.6j * n, 0.2 - 0.75j - 1j * n], 0.17, 0.05)
    f.fill(horn, _HORN, depth=0.3)


def _mane(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    r = rng.uniform(1.35, 1.65)
    f.fill(ruffled(ellipse(0.15j, r, r), 0.05, rng), mix(coat.fur, INK, 0.4), depth=0.4)


def _mane_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    r = rng.uniform(1.1, 1.4)
    f.fill(ruffled(ellipse(-0.4 + 0.2j, r, 1.2 * r), 0.05, rng), mix(coat.fur, INK, 0.4), depth=0.4)


def _mask(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    patch = ellipse(0.5 + 0.08j, 0.48, 0.3, 0.4)
    for outline in (patch, mirrored(patch)):
        f.fill(outline + 0.8 * look, mix(coat.fur, INK, 0.8))


def _mask_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    f.fill(ellipse(0.35 - 0.08j, 0.5, 0.28, 0.4), mix(coat.fur, INK, 0.8))


def _face(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    half = [0.08 - 0.3j, 0.45 - 0.5j, 0.78 - 0.1j, 0.6 + 0.4j, complex(0.4, a.chin - 0.1)]
    f.fill(symmetric(half) + 0.6 * look, mix(coat.inner_ear, PALE, 0.4), depth=0.3)


def _face_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    f.fill(ellipse(0.45 + 0.05j, 0.36, 0.5, 0.2), mix(coat.inner_ear, PALE, 0.4))


def _beard(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    tip = complex(0.06, a.chin + rng.uniform(0.35, 0.7))
    half = [complex(0.1, a.chin - 0.1), complex(0.24, a.chin + 0.05), tip]
    f.fill(symmetric(half) + look, mix(coat.fur, INK, 0.3))


def _beard_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    tip = complex(0.6 + 0.5 * a.snout, 0.7 + rng.uniform(0.35, 0.7))
    f.fill(np.array([tip - 0.3 - 0.6j, tip + 0.15 - 0.6j, tip]), mix(coat.fur, INK, 0.3))


def _disc(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    centre, r = complex(0.0, a.chin - 0.48) + look * (1.2 + a.snout), rng.uniform(0.3, 0.42)
    f.fill(ellipse(centre, r, 0.78 * r), mix(coat.inner_ear, coat.fur, 0.3), depth=0.4)
    for side in (-1, 1):
        f.fill(ellipse(centre + 0.4 * side * r, 0.16 * r, 0.3 * r), mix(coat.fur, INK, 0.75))


def _disc_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    centre = complex(0.72 + a.snout, 0.28 + 0.1 * a.snout)
    f.fill(ellipse(centre, 0.14, 0.34, 0.15), mix(coat.inner_ear, coat.fur, 0.3), depth=0.4)


def _teeth(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    top = complex(0.0, a.chin - 0.24) + look * (1.2 + a.snout)
    f.fill(top + box(-0.1, 0.0, 0.1, 0.22), WHITE)
    f.line(top + np.array([0j, 0.22j]), mix(coat.fur, INK, 0.7), 0.02)


def _teeth_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    f.fill(complex(0.58 + a.snout, 0.4 + 0.1 * a.snout) + box(-0.06, 0.0, 0.06, 0.2), WHITE)


def _trunk(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    sway, n = rng.uniform(-0.8, 0.8), rng.uniform(1.2, 1.9)
    spine = [0.2j + look, complex(0.1 * sway, 0.2 + 0.6 * n) + look, complex(sway, 0.3 + n) + look]
    _add_trunk(f, coat, spine)


def _trunk_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    sway, n = rng.uniform(-0.5, 0.8), rng.uniform(1.2, 1.9)
    end = complex(1.0 + sway, 0.3 + n)
    _add_trunk(f, coat, [0.45 + 0.15j, complex(0.95, 0.2 + 0.5 * n), end])


def _add_trunk(figure: Figure, coat: Coat, spine: list[complex]) -> None:
    figure.fill(ribbon(spine, 0.4, 0.17), mix(coat.fur, INK, 0.12), depth=0.3)
    middle = curve(spine)
    for point in middle[3:-2:2]:
        figure.line(np.array([point - 0.2, point + 0.2]), mix(coat.fur, INK, 0.35), 0.03)


def _wool(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    for x in (-0.6, -0.2, 0.25, 0.65, 0.0):
        _add_tuft(f, coat, rng, complex(x, -0.72 + 0.25 * abs(x)) + 0.3 * look)


def _wool_side(f: Figure, a: Anatomy, coat: Coat, rng: np.random.Generator) -> None:
    for x in (-0.7, -0.35, 0.0, 0.3):
        _add_tuft(f, coat, rng, complex(x, -0.75 + 0.25 * abs(x + 0.2)))


def _add_tuft(figure: Figure, coat: Coat, rng: np.random.Generator, centre: complex) -> None:
    r = rng.uniform(0.26, 0.38)
    lobes = 1.0 + 0.12 * np.cos(np.arange(10) * np.pi)
    tuft = blob(centre + r * lobes * np.exp(2j * np.pi * np.arange(10) / 10))
    figure.fill(tuft, mix(coat.fur, PALE, 0.35), depth=0.4)


EARS: Mapping[str, Ears] = {
    "pointed": POINTED,
    "folded": FOLDED,
    "drooping": DROOPING,
    "round": Ears(front=_round, near=_round_near, beyond=_round_beyond),
    "long": Ears(front=_long, near=_long_near, beyond=_long_beyond),
    "level": Ears(front=_level, near=_level_near),
    "flapping": Ears(front=_flapping, near=_flapping_near),
}

EXTRAS: Mapping[str, Extra] = {
    "antlers": Extra(layer="behind", front=_antlers, side=_antlers_side),
    "beard": Extra(layer="over", front=_beard, side=_beard_side),
    "disc": Extra(layer="over", front=_disc, side=_disc_side),
    "face": Extra(layer="under", front=_face, side=_face_side),
    "horns": Extra(layer="behind", front=_horns, side=_horns_side),
    "mane": Extra(layer="behind", front=_mane, side=_mane_side),
    "mask": Extra(layer="under", front=_mask, side=_mask_side),
    "teeth": Extra(layer="over", front=_teeth, side=_teeth_side),
    "trunk": Extra(layer="over", front=_trunk, side=_trunk_side),
    "wool": Extra(layer="over", front=_wool, side=_wool_side),
}

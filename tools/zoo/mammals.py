"""Mammals: the anatomies that the poses of cats and dogs can carry as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from zoo.animal import Anatomy, Coat, coat
from zoo.extras import EARS, EXTRAS
from zoo.figure import Figure, choose
from zoo.poses import POSES

Range = tuple[float, float]

# What is not said of an animal is anything within these bounds.
_BOUNDS: Mapping[str, Range] = {
    "ear_length": (0.8, 1.2),
    "cheek": (0.65, 0.98),
    "chin": (0.8, 1.2),
    "snout": (0.15, 1.0),
    "muzzle": (0.34, 0.54),
    "nose": (0.1, 0.3),
    "eye": (0.15, 0.3),
    "pupil": (0.2, 0.75),
    "almond": (0.0, 1.0),
    "whiskers": (0.0, 0.0),
    "torso": (1.6, 2.3),
    "girth": (0.75, 1.15),
    "belly": (0.6, 1.0),
    "leg": (0.9, 1.8),
    "leg_width": (0.2, 0.32),
    "neck": (0.5, 1.2),
    "tail": (0.8, 2.4),
    "tail_width": (0.13, 0.3),
    "tail_curl": (-0.4, 2.2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mammal:
    """One kind.

    Attributes:
        ears, extras: Keys of EARS and EXTRAS.
        ranges: Bounds of the measures that are its own.
        tufts: Roughness of its outline; None for what its coat has.
    """

    ears: str
    ranges: Mapping[str, Range]
    extras: tuple[str, ...] = ()
    tufts: float | None = None


MAMMALS: Mapping[str, _Mammal] = {
    "bear": _Mammal(
        ears="round",
        ranges={
            "ear_length": (0.6, 0.85), "cheek": (0.85, 1.0), "chin": (0.85, 1.05),
            "snout": (0.45, 0.8), "nose": (0.2, 0.3), "eye": (0.12, 0.18), "pupil": (0.6, 0.75),
            "girth": (1.0, 1.25), "leg_width": (0.28, 0.38), "tail": (0.3, 0.5),
        },
    ),
    "cow": _Mammal(
        ears="level",
        extras=("horns",),
        ranges={
            "chin": (1.15, 1.4), "snout": (0.8, 1.1), "muzzle": (0.56, 0.7), "nose": (0.28, 0.36),
            "eye": (0.15, 0.22), "pupil": (0.55, 0.75), "tail": (1.8, 2.6),
            "tail_width": (0.07, 0.12),
        },
    ),
    "deer": _Mammal(
        ears="level",
        extras=("antlers",),
        ranges={
            "cheek": (0.6, 0.75), "chin": (1.0, 1.3), "snout": (0.7, 1.0), "muzzle": (0.34, 0.42),
            "eye": (0.2, 0.28), "leg": (1.8, 2.4), "leg_width": (0.14, 0.2), "tail": (0.4, 0.7),
        },
    ),
    "elephant": _Mammal(
        ears="flapping",
        extras=("trunk",),
        ranges={
            "ear_length": (0.7, 1.1), "eye": (0.1, 0.16), "girth": (1.1, 1.3),
            "leg_width": (0.34, 0.44), "tail": (0.8, 1.3), "tail_width": (0.06, 0.1),
        },
    ),
    "fox": _Mammal(
        ears="pointed",
        ranges={
            "ear_length": (0.7, 1.2), "cheek": (0.6, 0.8), "chin": (1.0, 1.25),
            "snout": (0.75, 1.1), "muzzle": (0.26, 0.36), "nose": (0.1, 0.17), "eye": (0.17, 0.24),
            "pupil": (0.2, 0.5), "almond": (0.6, 1.0), "tail": (1.6, 2.4),
            "tail_width": (0.36, 0.5),
        },
    ),
    "goat": _Mammal(
        ears="drooping",
        extras=("horns", "beard"),
        ranges={
            "ear_length": (0.8, 1.2), "cheek": (0.58, 0.72), "chin": (1.05, 1.3),
            "snout": (0.6, 0.95), "nose": (0.12, 0.2), "pupil": (0.3, 0.6), "tail": (0.4, 0.8),
        },
    ),
    "horse": _Mammal(
        ears="pointed",
        ranges={
            "ear_length": (0.4, 0.65), "cheek": (0.5, 0.62), "chin": (1.45, 1.8),
            "snout": (1.1, 1.5), "muzzle": (0.4, 0.52), "nose": (0.2, 0.28), "eye": (0.14, 0.2),
            "pupil": (0.6, 0.75), "leg": (1.9, 2.5), "tail": (1.8, 2.6), "tail_width": (0.2, 0.32),
        },
    ),
    "lion": _Mammal(
        ears="round",
        extras=("mane",),
        ranges={
            "ear_length": (0.5, 0.8), "cheek": (0.8, 0.98), "chin": (0.85, 1.1),
            "snout": (0.3, 0.6), "nose": (0.16, 0.26), "eye": (0.18, 0.26), "almond": (0.4, 1.0),
            "whiskers": (0.6, 1.1), "tail": (2.0, 3.0), "tail_width": (0.1, 0.16),
        },
    ),
    "monkey": _Mammal(
        ears="round",
        extras=("face",),
        ranges={
            "ear_length": (0.7, 1.0), "cheek": (0.75, 0.95), "chin": (0.9, 1.05),
            "snout": (0.15, 0.4), "muzzle": (0.46, 0.6), "nose": (0.08, 0.13),
            "pupil": (0.5, 0.75), "tail": (2.2, 3.2), "tail_width": (0.1, 0.16),
        },
    ),
    "mouse": _Mammal(
        ears="round",
        ranges={
            "ear_length": (1.2, 1.7), "cheek": (0.65, 0.85), "chin": (0.85, 1.05),
            "snout": (0.4, 0.8), "muzzle": (0.22, 0.32), "nose": (0.09, 0.15), "eye": (0.15, 0.24),
            "pupil": (0.65, 0.85), "almond": (0.0, 0.3), "whiskers": (0.7, 1.3),
            "leg": (0.7, 1.0), "tail": (2.4, 3.4), "tail_width": (0.06, 0.1),
        },
    ),
    "pig": _Mammal(
        ears="folded",
        extras=("disc",),
        ranges={
            "ear_length": (0.7, 1.0), "cheek": (0.8, 0.98), "chin": (0.85, 1.05),
            "snout": (0.4, 0.7), "eye": (0.12, 0.19), "pupil": (0.6, 0.75), "girth": (1.0, 1.25),
            "leg": (0.7, 1.1), "tail": (0.6, 0.9), "tail_width": (0.07, 0.11),
            "tail_curl": (2.5, 4.5),
        },
    ),
    "rabbit": _Mammal(
        ears="long",
        extras=("teeth",),
        ranges={
            "ear_length": (1.3, 2.0), "cheek": (0.8, 1.0), "chin": (0.8, 0.98),
            "snout": (0.15, 0.35), "nose": (0.08, 0.14), "eye": (0.2, 0.28), "pupil": (0.6, 0.85),
            "almond": (0.0, 0.4), "whiskers": (0.6, 1.2), "tail": (0.3, 0.45),
            "tail_width": (0.25, 0.36),
        },
    ),
    "raccoon": _Mammal(
        ears="pointed",
        extras=("mask",),
        ranges={
            "ear_length": (0.5, 0.85), "cheek": (0.85, 1.0), "chin": (0.85, 1.05),
            "snout": (0.4, 0.7), "nose": (0.15, 0.24), "eye": (0.14, 0.2), "pupil": (0.6, 0.75),
            "whiskers": (0.5, 0.9), "tail": (1.5, 2.2), "tail_width": (0.28, 0.4),
        },
    ),
    "sheep": _Mammal(
        ears="drooping",
        extras=("wool",),
        tufts=0.06,
        ranges={
            "ear_length": (0.7, 1.0), "cheek": (0.58, 0.75), "chin": (1.0, 1.2),
            "snout": (0.5, 0.85), "nose": (0.12, 0.2), "pupil": (0.4, 0.75),
            "girth": (1.05, 1.3), "belly": (0.95, 1.2), "tail": (0.4, 0.7),
        },
    ),
    "squirrel": _Mammal(
        ears="pointed",
        extras=("teeth",),
        ranges={
            "ear_length": (0.6, 0.9), "cheek": (0.75, 0.95), "chin": (0.78, 0.92),
            "snout": (0.2, 0.45), "muzzle": (0.28, 0.38), "nose": (0.07, 0.12),
            "eye": (0.2, 0.28), "pupil": (0.7, 0.9), "almond": (0.0, 0.3),
            "whiskers": (0.5, 1.0), "tail": (2.6, 3.4), "tail_width": (0.45, 0.65),
            "tail_curl": (1.6, 2.8),
        },
    ),
}  # fmt: skip


def mammal(name: str, rng: np.random.Generator) -> Figure:
    """Return one of MAMMALS in a pose and a coat of its own."""
    kind = MAMMALS[name]
    pose = choose(rng, POSES)
    return pose(_anatomy(kind, rng), _coat(kind, rng), rng)


def _anatomy(kind: _Mammal, rng: np.random.Generator) -> Anatomy:
    ranges = {**_BOUNDS, **kind.ranges}
    measures = {name: float(rng.uniform(*bounds)) for name, bounds in ranges.items()}
    extras = tuple(EXTRAS[name] for name in kind.extras)
    return Anatomy(ears=EARS[kind.ears], extras=extras, **measures)


def _coat(kind: _Mammal, rng: np.random.Generator) -> Coat:
    worn = coat(rng)
    return worn if kind.tufts is None else replace(worn, tufts=kind.tufts)

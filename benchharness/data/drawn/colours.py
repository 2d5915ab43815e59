"""Colours, and the coats that cats and dogs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Colour = tuple[int, int, int]
T = TypeVar("T")

COATS: tuple[Colour, ...] = (
    (38, 34, 34), (66, 60, 60), (112, 110, 114), (160, 158, 158), (236, 230, 220),
    (222, 196, 156), (206, 136, 72), (172, 104, 58), (120, 78, 50), (84, 56, 42),
    (198, 166, 122), (132, 138, 150),
)  # fmt: skip
IRISES: tuple[Colour, ...] = ((186, 134, 50), (126, 84, 42), (148, 148, 74), (112, 154, 178))
NOSES: tuple[Colour, ...] = ((30, 24, 26), (44, 34, 36), (60, 40, 38), (188, 118, 116))
PATTERNS = ("plain", "plain", "stripes", "patches", "patches", "points")
INK: Colour = (26, 22, 24)
PALE: Colour = (240, 234, 224)
LIGHT: Colour = (255, 250, 235)
WHITE: Colour = (248, 248, 248)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coat:
    """The colours of one animal.

    Attributes:
        fur: Most of it.
        marks: Stripes, patches or points, as the pattern says.
        front: Muzzle, chest and paws.
        ear: Outside of the ears, unless the pattern marks them.
        pattern: One of PATTERNS.
        tufts: Roughness of its outline, a share of the radius.
    """

    fur: Colour
    marks: Colour
    front: Colour
    ear: Colour
    inner_ear: Colour
    iris: Colour
    nose: Colour
    pattern: str
    tufts: float


def choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Return one of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return the colour that lies the given share of the way from a to b."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def varied(colour: Colour, rng: np.random.Generator, amount: float) -> Colour:
    """Return a neighbour of the colour, each channel moved by about the amount."""
    red, green, blue = np.clip(np.add(colour, rng.normal(0.0, amount, 3)), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def coat(rng: np.random.Generator) -> Coat:
    """Return the coat of an animal of either class."""
    fur = varied(choose(rng, COATS), rng, 6.0)
    other = varied(choose(rng, COATS), rng, 6.0)
    shade = mix(fur, INK, float(rng.uniform(0.3, 0.6)))
    pattern = choose(rng, PATTERNS)
    front = choose(rng, (fur, mix(fur, PALE, 0.35), mix(fur, PALE, 0.8), shade))
    return Coat(
        fur=fur,
        marks=other if pattern == "patches" else shade,
        front=shade if pattern == "points" else front,
        ear=mix(fur, INK, float(rng.uniform(0.15, 0.45))),
        inner_ear=mix(fur, (206, 142, 134), float(rng.uniform(0.2, 0.7))),
        iris=varied(choose(rng, IRISES), rng, 10.0),
        nose=choose(rng, NOSES),
        pattern=pattern,
        tufts=float(rng.uniform(0.0, 0.025)),
    )

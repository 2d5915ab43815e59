"""What makes a cat a cat and a dog a dog: proportions, in units of half a head's width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchharness.data.drawn.colours import choose

Ears = Literal["pointed", "folded", "drooping", "round", "long", "level", "flapping"]
Extra = Literal[
    "antlers", "beard", "disc", "face", "horns", "mane", "mask", "teeth", "trunk", "wool"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """The shape of one animal.

    Attributes:
        ear_length: From root to tip.
        cheek: Half-width of the head at the height of the mouth.
        chin: Distance of the chin below the eyes.
        snout: How far the muzzle stands out, seen from the side.
        muzzle: Half-width of the muzzle, seen from the front.
        nose: Half-width of the nose.
        eye: Half-width of an eye.
        pupil: Half-width of the pupil as a share of the eye.
        almond: How pointed the corners of the eye are, 0-1.
        whiskers: Length; 0 for none worth drawing.
        torso: Half the length of the body.
        girth: Half-height of the chest.
        belly: Half-height of the waist.
        leg, leg_width: Length and half-width.
        neck: Height of the head's centre above the shoulders.
        tail, tail_width, tail_curl: Length, half-width, and bend in radians.
        extras: What only some animals have on their heads.
    """

    ears: Ears
    ear_length: float
    cheek: float
    chin: float
    snout: float
    muzzle: float
    nose: float
    eye: float
    pupil: float
    almond: float
    whiskers: float
    torso: float
    girth: float
    belly: float
    leg: float
    leg_width: float
    neck: float
    tail: float
    tail_width: float
    tail_curl: float
    extras: tuple[Extra, ...] = ()


def cat(rng: np.random.Generator) -> Anatomy:
    """Return a cat: pointed ears, a short muzzle with whiskers, slit pupils, a long thin tail."""
    u = rng.uniform
    return Anatomy(
        ears="pointed",
        ear_length=u(0.9, 1.25),
        cheek=u(0.84, 1.0),
        chin=u(0.78, 0.9),
        snout=u(0.12, 0.3),
        muzzle=u(0.34, 0.44),
        nose=u(0.1, 0.14),
        eye=u(0.25, 0.31),
        pupil=u(0.16, 0.5),
        almond=u(0.5, 1.0),
        whiskers=u(0.9, 1.4),
        torso=u(1.7, 2.3),
        girth=u(0.72, 0.95),
        belly=u(0.65, 0.95),
        leg=u(1.1, 1.6),
        leg_width=u(0.2, 0.26),
        neck=u(0.5, 0.8),
        tail=u(2.4, 3.3),
        tail_width=u(0.13, 0.2),
        tail_curl=u(0.6, 2.2),
    )


def dog(rng: np.random.Generator) -> Anatomy:
    """Return a dog: hanging ears, a long muzzle with a big nose, round eyes, a short tail."""
    u = rng.uniform
    ears: Ears = choose(rng, ("drooping", "drooping", "folded"))
    return Anatomy(
        ears=ears,
        ear_length=u(1.15, 1.7) if ears == "drooping" else u(0.75, 1.0),
        cheek=u(0.6, 0.8),
        chin=u(1.0, 1.25),
        snout=u(0.65, 1.1),
        muzzle=u(0.42, 0.54),
        nose=u(0.24, 0.32),
        eye=u(0.15, 0.2),
        pupil=u(0.6, 0.75),
        almond=u(0.0, 0.3),
        whiskers=0.0,
        torso=u(1.7, 2.3),
        girth=u(0.85, 1.15),
        belly=u(0.55, 0.85),
        leg=u(1.3, 1.9),
        leg_width=u(0.24, 0.32),
        neck=u(0.8, 1.2),
        tail=u(0.8, 1.7),
        tail_width=u(0.2, 0.3),
        tail_curl=u(-0.4, 1.2),
    )

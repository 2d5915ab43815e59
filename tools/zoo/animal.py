"""Animals: proportions and coats, and the heads that these give.

One unit is half of a head's width. The eyes are near y = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zoo.figure import (
    INK,
    PALE,
    WHITE,
    Colour,
    Figure,
    Outline,
    blob,
    choose,
    curve,
    ellipse,
    mirrored,
    mix,
    ruffled,
    symmetric,
    varied,
)

COATS: tuple[Colour, ...] = (
    (38, 34, 34), (66, 60, 60), (112, 110, 114), (160, 158, 158), (236, 230, 220),
    (222, 196, 156), (206, 136, 72), (172, 104, 58), (120, 78, 50), (84, 56, 42),
    (198, 166, 122), (132, 138, 150),
)  # fmt: skip
IRISES: tuple[Colour, ...] = ((186, 134, 50), (126, 84, 42), (148, 148, 74), (112, 154, 178))
NOSES: tuple[Colour, ...] = ((30, 24, 26), (44, 34, 36), (60, 40, 38), (188, 118, 116))
PATTERNS = ("plain", "plain", "stripes", "patches", "patches", "points")
NO_OUTLINE: Outline = np.empty(0, dtype=np.complex128)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """Shapes of a pair of ears, from their length.

    Attributes:
        front: The right ear and what shows of its inside, also from how far it leans outwards.
        near: Seen from the side: the near ear, what shows of its inside, and how round it looks.
        beyond: The far ear, where it stands up far enough to show.
        is_hanging: Whether they fall over the head; other ears stand behind it.
    """

    front: Callable[[float, float], tuple[Outline, Outline]]
    near: Callable[[float], tuple[Outline, Outline, float]]
    beyond: Callable[[float], Outline] | None = None
    is_hanging: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """Something else on a head, such as horns; neither cats nor dogs have any.

    Attributes:
        layer: Behind the head, under the muzzle and the eyes, or over the muzzle.
        front, side: Add it to a head that looks at us, in a direction, or to the right.
    """

    layer: Literal["behind", "under", "over"]
    front: Callable[[Figure, Anatomy, Coat, np.random.Generator, complex], None]
    side: Callable[[Figure, Anatomy, Coat, np.random.Generator], None]


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


def _pointed(n: float, spread: float) -> tuple[Outline, Outline]:
    tip = 0.72 + spread - 1j * (0.55 + n)
    inside, outside = 0.38 - 0.78j - 0.45j * n, 0.94 - 0.5j * n - 0.35j
    ear = np.array([0.14 - 0.72j, inside, tip, outside, 0.93 - 0.2j])
    return ear, (ear - tip) * 0.62 + tip + 0.2j


def _pointed_beyond(n: float) -> Outline:
    return np.array([0.1 - 0.7j, 0.28 - 0.6j - 1j * n, 0.5 - 0.5j])


def _pointed_near(n: float) -> tuple[Outline, Outline, float]:
    tip = -0.12 - 0.6j - 1j * n
    back, front = -0.35 - 0.7j - 0.5j * n, 0.12 - 0.6j - 0.5j * n
    ear = np.array([-0.55 - 0.55j, back, tip, front, 0.2 - 0.55j])
    return ear, (ear - tip) * 0.6 + tip + 0.22j, 0.3


def _folded(n: float, spread: float) -> tuple[Outline, Outline]:
    fold = 0.72 + spread - 1j * (0.5 + 0.6 * n)
    tip = fold + 0.42 + 0.62j * n
    flap = blob([0.3 - 0.82j, fold - 0.08, fold + 0.2 + 0.12j, tip, 0.84 - 0.32j])
    lining = [fold + 0.04 + 0.1j, fold + 0.3 + 0.3j * n, fold + 0.24 + 0.5j * n, 0.62 - 0.6j]
    return flap, blob(lining)


def _folded_near(n: float) -> tuple[Outline, Outline, float]:
    top = [-0.3 - 0.75j - 0.4j * n, 0.1 - 0.75j - 0.3j * n]
    return blob([-0.5 - 0.6j, *top, 0.3 - 0.3j, -0.1 - 0.45j]), NO_OUTLINE, 0.5


def _drooping(n: float, spread: float) -> tuple[Outline, Outline]:
    tip = complex(1.12 + spread, -0.55 + n)
    root, end = [0.4 - 0.8j, 0.85 - 0.78j, 1.14 - 0.3j], [tip + 0.1 - 0.3j, tip - 0.1]
    return blob([*root, *end, tip - 0.36 - 0.2j, 0.72 - 0.2j]), NO_OUTLINE


def _drooping_near(n: float) -> tuple[Outline, Outline, float]:
    end = [complex(0.0, -0.6 + n), complex(-0.35, -0.55 + n)]
    hanging = [-0.45 - 0.6j, 0.0 - 0.65j, 0.12 - 0.1j, *end, -0.55 + 0.1j]
    return blob(hanging), NO_OUTLINE, 0.6


POINTED = Ears(front=_pointed, near=_pointed_near, beyond=_pointed_beyond)
FOLDED = Ears(front=_folded, near=_folded_near)
DROOPING = Ears(front=_drooping, near=_drooping_near, is_hanging=True)


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

    def add_extras(layer: str) -> None:
        for extra in anatomy.extras:
            if extra.layer == layer:
                extra.front(figure, anatomy, coat, rng, look)

    add_extras("behind")
    if not anatomy.ears.is_hanging:
        _add_ears(figure, anatomy, coat, rng, look)
    figure.fill(ruffled(shape, coat.tufts, rng), coat.fur, depth=0.8)
    _add_marks(figure, coat, rng, look)
    if anatomy.ears.is_hanging:
        _add_ears(figure, anatomy, coat, rng, look)
    add_extras("under")
    _add_muzzle(figure, anatomy, coat, rng, look)
    add_extras("over")
    for side in (-1, 1):
        apart = side * (0.5 - 0.35 * anatomy.eye) * (1 + side * 0.3 * look.real)
        _add_eye(figure, anatomy, coat, apart + 0.8 * look, side)
    return figure


def _profile(anatomy: Anatomy, coat: Coat, rng: np.random.Generator) -> Figure:
    figure, snout = Figure(), anatomy.snout
    tip, drop = 0.72 + snout, 0.28 + 0.1 * snout
    skull = blob([
        -0.1 - 0.85j, 0.5 - 0.62j, complex(0.72, -0.2), complex(tip - 0.06, drop - 0.26),
        complex(tip, drop), complex(tip - 0.12, drop + 0.3), complex(0.5, 0.75),
        -0.3 + 0.8j, -0.85 + 0.2j, -0.7 - 0.5j,
    ])  # fmt: skip

    def add_extras(layer: str) -> None:
        for extra in anatomy.extras:
            if extra.layer == layer:
                extra.side(figure, anatomy, coat, rng)

    add_extras("behind")
    if anatomy.ears.beyond is not None:
        beyond = anatomy.ears.beyond(anatomy.ear_length)
        figure.fill(beyond, mix(_ear_colour(coat), INK, 0.25))
    figure.fill(ruffled(skull, coat.tufts * 0.7, rng), coat.fur, depth=0.7)
    muzzle = ellipse(complex(0.62 + 0.55 * snout, drop + 0.08), 0.34 + 0.4 * snout, 0.3)
    figure.fill(muzzle, mix(coat.fur, coat.front, 0.8), depth=0.4)
    add_extras("under")
    outer, inner, depth = anatomy.ears.near(anatomy.ear_length)
    figure.fill(outer, _ear_colour(coat), depth=depth)
    if len(inner):
        figure.fill(inner, coat.inner_ear)
    nose = ellipse(complex(tip, drop - 0.12), anatomy.nose * 0.8, anatomy.nose * 0.75)
    figure.fill(nose, coat.nose)
    mouth = [complex(tip - 0.06, drop + 0.14), complex(tip - 0.3, drop + 0.27), 0.5 + 0.45j]
    figure.line(curve(mouth), mix(coat.front, INK, 0.7), 0.035)
    add_extras("over")
    _add_eye(figure, anatomy, coat, 0.42 - 0.14j, 1)
    _add_whiskers(figure, anatomy, coat, rng, complex(tip - 0.2, drop + 0.12), 1)
    _add_whiskers(figure, anatomy, coat, rng, complex(tip - 0.25, drop + 0.12), -1)
    return figure


def _add_ears(
    figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator, look: complex
) -> None:
    """Add both ears, the one that the look turns to a little narrower."""
    spread = rng.uniform(-0.12, 0.12)
    outer, inner = anatomy.ears.front(anatomy.ear_length, spread)
    for side in (-1, 1):
        narrow = 1.0 - side * 0.35 * look.real
        for outline, colour, depth in (
            (outer, _ear_colour(coat), 0.5),
            (inner, coat.inner_ear, 0.0),
        ):
            if len(outline):
                turned = outline.real * narrow + 1j * outline.imag
                placed = (turned if side > 0 else mirrored(turned)) + 0.3 * look
                figure.fill(placed, colour, depth=depth)


def _ear_colour(coat: Coat) -> Colour:
    return coat.marks if coat.pattern in ("points", "patches") else coat.ear


def _add_marks(figure: Figure, coat: Coat, rng: np.random.Generator, look: complex) -> None:
    """Add stripes, a patch around an eye or a blaze to a head seen from the front."""
    if coat.pattern == "stripes":
        _add_stripes(figure, coat, look)
    elif coat.pattern == "patches":
        side = 1 if rng.random() < 0.5 else -1
        patch = ellipse(side * 0.45 - 0.2j + look, 0.4, rng.uniform(0.35, 0.5), side * 0.4)
        figure.fill(patch, coat.marks)
    elif rng.random() < 0.3:
        blaze = symmetric([0.05 - 0.75j, 0.1 - 0.2j, 0.25 + 0.3j])
        figure.fill(blaze + look, mix(coat.fur, PALE, 0.7))


def _add_muzzle(
    figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator, look: complex
) -> None:
    """Add muzzle, mouth, whiskers and nose; what stands out moves most when the head turns."""
    w, ahead = anatomy.muzzle, look * (1.2 + anatomy.snout)
    bottom = anatomy.chin - 0.06
    bridge = -0.1 - 0.1 * anatomy.snout if anatomy.snout > 0.5 else 0.24
    shape = symmetric([
        complex(0.3 * w, bridge), complex(0.62 * w, 0.5 * (bridge + bottom) - 0.12),
        complex(w, bottom - 0.36), complex(0.8 * w, bottom - 0.08), complex(0.2 * w, bottom),
    ])  # fmt: skip
    figure.fill(shape + 0.7 * ahead, mix(coat.fur, coat.front, 0.9), depth=0.5)
    nose = complex(0.0, bottom - 0.42) + ahead
    lip, ink = nose + 0.22j, mix(coat.front, INK, 0.75)
    figure.line(np.array([nose, lip]), ink, 0.04)
    for side in (-1, 1):
        smile = [lip, lip + side * 0.5 * w + 0.1j, lip + side * 0.85 * w - 0.02j]
        figure.line(curve(smile), ink, 0.04)
        _add_whiskers(figure, anatomy, coat, rng, nose + side * 0.22 + 0.14j, side)
    _add_nose(figure, anatomy.nose, coat, nose)


def _add_eye(figure: Figure, anatomy: Anatomy, coat: Coat, centre: complex, side: int) -> None:
    """Add an eye: rim, iris, pupil and the light in it."""
    r, turn = anatomy.eye, np.exp(-0.22j * side * anatomy.almond)
    tall = r * (1.0 - 0.22 * anatomy.almond)
    corner = r * (1.0 + 0.35 * anatomy.almond)
    lower = [0.5 * r + 0.85j * tall, -0.5 * r + 0.85j * tall]
    upper = [-0.5 * r - 0.9j * tall, 0.5 * r - 0.9j * tall]
    shape = blob([corner, *lower, -corner, *upper]) * turn
    figure.fill(centre + 1.12 * shape, mix(coat.fur, INK, 0.75))
    figure.fill(centre + shape, coat.iris)
    figure.fill(ellipse(centre, anatomy.pupil * r, 0.8 * tall), INK)
    figure.fill(ellipse(centre - (0.3 + 0.35j) * r, 0.2 * r, 0.2 * r), WHITE)


def _add_whiskers(
    figure: Figure, anatomy: Anatomy, coat: Coat, rng: np.random.Generator, root: complex, side: int
) -> None:
    """Add three whiskers on one side, where the animal has any; side is -1 or 1."""
    if not anatomy.whiskers:
        return
    colour = PALE if sum(coat.fur) < 480 else mix(coat.fur, INK, 0.5)
    for tilt in (-0.25, 0.0, 0.25):
        reach = side * anatomy.whiskers * np.exp(1j * side * (tilt + rng.normal(0, 0.06)))
        whisker = curve([root, root + 0.5 * reach - 0.03j, root + reach + 0.06j])
        figure.line(whisker, colour, 0.022)


def _add_stripes(figure: Figure, coat: Coat, look: complex) -> None:
    for x in (-0.3, 0.0, 0.3):
        forehead = np.array([x - 0.05 - 0.78j, x + 0.05 - 0.78j, x * 0.6 - 0.3j])
        figure.fill(forehead + 0.5 * look, coat.marks)
    for y in (0.12, 0.32):
        cheek = np.array([0.9 + 1j * (y - 0.06), 0.88 + 1j * (y + 0.05), 0.58 + 1j * y])
        figure.fill(mirrored(cheek), coat.marks)
        figure.fill(cheek, coat.marks)


def _add_nose(figure: Figure, n: float, coat: Coat, centre: complex) -> None:
    """Add a nose of half-width n, and the gleam on it."""
    tip = symmetric([n * (0.5 - 0.62j), n * (1.0 - 0.25j), n * (0.25 + 0.7j)])
    figure.fill(centre + tip, coat.nose)
    figure.fill(ellipse(centre - (0.3 + 0.3j) * n, 0.25 * n, 0.12 * n), mix(coat.nose, PALE, 0.5))

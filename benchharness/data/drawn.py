"""Drawn cats and dogs: seeded pictures for runs without photographs, kept from run to run.

Points are complex numbers, x to the right and y down; of an animal 1 is half of its head's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchharness.data.folder import folder
from benchharness.data.listing import Listing, Progress
from benchharness.download.manifest import build_folder
from benchharness.errors import DatasetError
from benchharness.files import file_digest, remove_dir, require_free_space

Colour = tuple[int, ...]
Outline = NDArray[np.complex128]
Points = Sequence[complex] | Outline
T = TypeVar("T")

# Part of the cache's path and so of a dataset's identity: raise it when any picture changes.
VERSION = 2
TRAIN, TEST = 2000, 800
# Of a picture on disk, at most; most are half of it.
_BYTES = 30_000

INK: Colour = (26, 22, 24)
PALE: Colour = (245, 240, 230)
_COATS: tuple[Colour, ...] = (
    (38, 34, 34), (66, 60, 60), (112, 110, 114), (160, 158, 158), (236, 230, 220),
    (222, 196, 156), (206, 136, 72), (172, 104, 58), (120, 78, 50), (84, 56, 42),
)  # fmt: skip
_IRISES: tuple[Colour, ...] = ((186, 134, 50), (126, 84, 42), (148, 148, 74), (112, 154, 178))
_PAINTS: tuple[Colour, ...] = (
    (196, 186, 170), (222, 214, 200), (150, 160, 168), (120, 130, 112), (168, 140, 112),
    (104, 92, 84), (176, 120, 104), (92, 110, 132), (200, 178, 130), (142, 106, 128),
)  # fmt: skip
# Bounds of uniform draws, for a cat and for a dog: lengths, half-widths from cheek to eye and of
# chest, leg and tail; the pupil is a share of the eye, the curl in radians.
_MEASURES = {
    "ear": ((0.9, 1.25), (1.15, 1.7)), "cheek": ((0.84, 1.0), (0.6, 0.8)),
    "chin": ((0.78, 0.9), (1.0, 1.25)), "snout": ((0.12, 0.3), (0.65, 1.1)),
    "muzzle": ((0.34, 0.44), (0.42, 0.54)), "nose": ((0.1, 0.14), (0.24, 0.32)),
    "eye": ((0.25, 0.31), (0.15, 0.2)), "pupil": ((0.16, 0.5), (0.6, 0.75)),
    "torso": ((1.7, 2.3), (1.7, 2.3)), "chest": ((0.72, 0.95), (0.85, 1.15)),
    "leg": ((1.1, 1.6), (1.3, 1.9)), "leg_width": ((0.2, 0.26), (0.24, 0.32)),
    "neck": ((0.5, 0.8), (0.8, 1.2)), "tail": ((2.4, 3.3), (0.8, 1.7)),
    "tail_width": ((0.13, 0.2), (0.2, 0.3)), "curl": ((0.6, 2.2), (-0.4, 1.2)),
}  # fmt: skip
_STEPS = np.linspace(0.0, 1.0, 6, endpoint=False)
# Each row blends four neighbouring points into one point of the curve between the middle two.
# Source: Catmull and Rom, "A class of local interpolating splines" (1974).
_BLEND = (
    0.5
    * np.stack([_STEPS**0, _STEPS, _STEPS**2, _STEPS**3], axis=1)
    @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
)
_CIRCLE = np.exp(2j * np.pi * np.arange(28) / 28)
# Painted larger than it is kept: Pillow draws hard edges, and reducing them makes them smooth.
_OVERSIZE = 2
# The background is painted this much smaller than it is kept, which blurs it.
_BLUR = 3


def synthetic_images(
    *,
    train: int | None,
    test: int | None,
    seed: int,
    cache_dir: Path,
    progress: Progress | None = None,
) -> Listing:
    """Return drawn pictures of cats and dogs, as ordinary JPEGs in class folders of the cache.

    They are drawn only if they are not there yet; 2000 for training and 800 for the test unless
    other totals are given. Progress is told in pictures drawn and pictures in all.

    Raises:
        DatasetError: They cannot be written.
    """
    train, test = train or TRAIN, test or TEST
    place = cache_dir / "drawn" / f"{train}-{test}-{seed}-v{VERSION}"

    def fill(building: Path) -> dict[str, str]:
        # Damaged pictures are of no use meanwhile, and take up room.
        remove_dir(place)
        needed = _BYTES * (train + test)
        require_free_space(building, needed=needed, what="pictures", error=DatasetError)
        write_drawn(building, train=train, test=test, seed=seed, progress=progress)
        files = sorted(building.rglob("*.jpg"))
        return {str(file.relative_to(building)): file_digest(file) for file in files}

    what = f"to write {train + test} pictures"
    build_folder(place, fill, source="drawn", remark="", what=what, error=DatasetError)
    origin = f"drawn by benchharness (version {VERSION}, seed {seed}), no photographs"
    return replace(folder(place), name="drawn", is_real=False, origin=origin)


def write_drawn(
    folder: Path, *, train: int, test: int, seed: int, progress: Progress | None = None
) -> None:
    """Write train/cats/cat.0.jpg, train/dogs/dog.0.jpg, ..., test/cats/..., test/dogs/...

    Cats get the odd picture. A picture depends on seed, split, class and index alone, so asking
    for more pictures leaves the first ones as they were. Pixels repeat on every machine with the
    same NumPy and Pillow.
    """
    done = 0
    for split, (part, total) in enumerate((("train", train), ("test", test))):
        for label, name in enumerate(("cat", "dog")):
            place = folder / part / f"{name}s"
            place.mkdir(parents=True, exist_ok=True)
            for index in range((total + 1 - label) // 2):
                rng = np.random.default_rng([seed, split, label, index])
                picture = draw(label, rng)
                picture.save(place / f"{name}.{index}.jpg", quality=int(rng.integers(60, 96)))
                done += 1
                if progress is not None:
                    progress(done, train + test)


def draw(label: int, rng: np.random.Generator) -> Image.Image:
    """Return an RGB picture with sides of 160 to 420 pixels: of a cat for 0, of a dog for 1."""
    longer = round(420 * rng.uniform(0.51, 1.0) ** 1.4)
    shorter = max(160, round(longer * rng.uniform(0.66, 1.0)))
    width, height = (longer, shorter) if rng.random() < 0.6 else (shorter, longer)
    # Out of focus, as behind the subject of a photograph.
    small = Image.new("RGB", (width // _BLUR, height // _BLUR))
    _Scene(rng, complex(width, height)).move(1 / _BLUR).paint(small)
    soft = small.resize((width, height), Image.Resampling.BILINEAR)
    canvas = soft.resize((width * _OVERSIZE, height * _OVERSIZE), Image.Resampling.NEAREST)
    animal = _Animal(label, rng).move(np.exp(1j * rng.uniform(-0.18, 0.18)))
    low, high = animal.bounds()
    across, down = (high - low).real, (high - low).imag
    scale = min(canvas.width / across, canvas.height / down) * rng.uniform(0.63, 1.08)
    x = (canvas.width - scale * across) * rng.uniform(0.1, 0.9)
    y = (canvas.height - scale * down) * rng.uniform(0.1, 0.9)
    animal.move(scale, complex(x, y) - scale * low)
    if rng.random() < 0.3:
        # Something stands in the way.
        animal.choose((animal.add_grass, animal.add_thing))(*animal.bounds())
    animal.paint(canvas)
    picture = _photographed(canvas.reduce(_OVERSIZE), rng)
    is_mirrored = rng.random() < 0.5
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if is_mirrored else picture


def _photographed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture under uneven light, perhaps out of focus, with haze and grain."""
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.BoxBlur(max(picture.size) * rng.uniform(0.002, 0.008)))
    width, height = picture.size
    # Along each side brightest somewhere, and fading towards one end or both.
    across, down = (
        1.0 - rng.uniform(0.0, 0.3) * (np.linspace(0.0, 1.0, side) - rng.uniform(0.0, 1.0)) ** 2
        for side in picture.size
    )
    gains = rng.uniform(0.85, 1.3) * rng.uniform(0.93, 1.07, 3)
    # Rows of interleaved bands: NumPy is several times slower along a last axis of three.
    rows = np.asarray(picture).reshape(height, width * 3)
    exposed = rows * np.outer(across, gains).ravel().astype(np.float32)
    exposed *= down[:, None].astype(np.float32)
    # Whole random bytes are the quickest noise; the shift sets its strength.
    shift = int(rng.integers(3, 6))
    exposed += rng.integers(0, 256, rows.shape, dtype=np.uint8) >> shift
    exposed += np.float32(rng.uniform(0.0, 24.0) - (128 >> shift))
    np.clip(exposed, 0.0, 255.0, out=exposed)
    return Image.fromarray(exposed.astype(np.uint8).reshape(height, width, 3))


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))


def _curve(points: Points, *, is_closed: bool = True) -> Outline:
    """Return a smooth curve through the points."""
    p = np.asarray(points, dtype=np.complex128)
    p = np.concatenate([p[-1:], p, p[:2]] if is_closed else [p[:1], p, p[-1:]])
    blended: Outline = (_BLEND @ np.array([p[:-3], p[1:-2], p[2:-1], p[3:]])).T.ravel()
    return blended if is_closed else np.append(blended, p[-2])


def _symmetric(right: Points) -> Outline:
    """Return a smooth outline from its right half, given from top to bottom."""
    half = np.asarray(right, dtype=np.complex128)
    return _curve(np.concatenate([half, -half.conjugate()[::-1]]))


def _limb(spine: Points, start: float, end: float) -> Outline:
    """Return a limb along the spine, its half-width going from start to end, both ends round."""
    middle = _curve(spine, is_closed=False)
    along, direction = np.linspace(0.0, 1.0, len(middle)), np.gradient(middle)
    half_width = (start + (end - start) * along) * np.sqrt(1.0 - (2.0 * along - 1.0) ** 10)
    side = 1j * direction / np.abs(direction) * half_width
    return np.concatenate([middle + side, (middle - side)[::-1]])


def _ellipse(centre: complex, rx: float, ry: float) -> Outline:
    outline: Outline = centre + rx * _CIRCLE.real + 1j * ry * _CIRCLE.imag
    return outline


def _box(low: complex, high: complex) -> Outline:
    return np.array([low, high.real + 1j * low.imag, high, low.real + 1j * high.imag])


class _Shape(NamedTuple):
    """A closed outline, which is filled and looks as round as its depth 0-1, or a line so wide."""

    outline: Outline
    colour: Colour
    width: float = 0.0
    depth: float = 0.0


class _Figure:
    """Shapes in painting order, to be placed and painted as one."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.shapes: list[_Shape] = []

    def choose(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def varied(self, colours: Sequence[Colour], amount: int) -> Colour:
        """Return a neighbour of any of the colours."""
        shifts = self.rng.integers(-amount, amount + 1, 3).tolist()
        pairs = zip(self.choose(colours), shifts, strict=True)
        return tuple(min(255, max(0, x + y)) for x, y in pairs)

    def paint_colour(self) -> Colour:
        return self.varied(_PAINTS, 28)

    def fill(self, outline: Outline, colour: Colour, depth: float = 0.0) -> None:
        self.shapes.append(_Shape(outline, colour, depth=depth))

    def line(self, points: Points, colour: Colour, width: float) -> None:
        self.shapes.append(_Shape(_curve(points, is_closed=False), colour, width=width))

    def move(self, factor: complex, offset: complex = 0j, *, since: int = 0) -> Self:
        """Scale and turn by the factor, then shift by the offset, the shapes from a position on."""
        for place, shape in enumerate(self.shapes[since:], start=since):
            outline, width = shape.outline * factor + offset, shape.width * abs(factor)
            self.shapes[place] = shape._replace(outline=outline, width=width)
        return self

    def bounds(self) -> tuple[complex, complex]:
        """Return the upper left and the lower right corner of everything filled."""
        points = np.concatenate([shape.outline for shape in self.shapes if not shape.width])
        x, y = points.real, points.imag
        return complex(x.min(), y.min()), complex(x.max(), y.max())

    def paint(self, image: Image.Image) -> None:
        brush = ImageDraw.Draw(image)
        for outline, colour, width, depth in self.shapes:
            if width:
                brush.line(_flat(outline), fill=colour, width=max(1, round(width)))
                continue
            brush.polygon(_flat(outline), fill=colour)
            centre = outline.mean()
            spokes = outline - centre
            # Lighter and smaller copies towards the light.
            for step in (0.3, 0.65) if depth else ():
                towards = centre - step * (0.16 + 0.2j) * np.abs(spokes).max()
                light = _mix(colour, PALE, 0.3 * step * depth)
                brush.polygon(_flat(towards + spokes * (1.0 - 0.75 * step)), fill=light)

    def add_thing(self, low: complex, high: complex) -> None:
        """Add a ball, a book or a leaf between two corners: as round or as pointed as an ear."""
        things = (_ellipse(0, 1.0, 1.0), _box(-1 - 0.6j, 1 + 0.6j), np.array([-1, 1.4, -1 - 0.8j]))
        size, uniform = high - low, self.rng.uniform
        turn = np.exp(1j * uniform(0.0, 2 * np.pi))
        factor = turn * min(size.real, size.imag) * uniform(0.05, 0.17)
        place = low + complex(size.real * uniform(0.0, 1.0), size.imag * uniform(0.0, 1.0))
        outline = self.choose(things) * factor + place
        self.fill(outline, self.paint_colour(), depth=uniform(0.0, 0.9))

    def add_grass(self, low: complex, high: complex) -> None:
        """Add blades of grass that stand on the lower edge between two corners."""
        tall = (high - low).imag * self.rng.uniform(0.1, 0.3)
        greens = [self.varied(((104, 128, 66),), 30) for _ in range(4)]
        for x in self.rng.uniform(low.real, high.real, 26):
            root, lean = complex(x, high.imag), self.rng.uniform(-0.5, 0.5)
            tip = root + tall * complex(lean, -self.rng.uniform(0.5, 1.2))
            blade = np.array([root - 0.05 * tall, tip, root + 0.05 * tall])
            self.fill(blade, self.choose(greens))


def _flat(outline: Outline) -> list[float]:
    # In sixteenths of a pixel: the last bits of a sine depend on the machine.
    flat: list[float] = (np.rint(outline.view(np.float64) * 16) / 16).tolist()
    return flat


class _Scene(_Figure):
    """A room, garden or blanket with up to three things in it, alike for cats and dogs."""

    def __init__(self, rng: np.random.Generator, size: complex) -> None:
        super().__init__(rng)
        width, height = size.real, size.imag
        kind, horizon = self.choose(("room", "garden", "blanket")), height * rng.uniform(0.3, 0.9)
        self.fill(_box(0j, size), self.paint_colour())
        self.fill(_box(1j * horizon, size), self.paint_colour())
        if kind == "room":
            self.fill(_box(0.97j * horizon, complex(width, horizon)), self.paint_colour())
        elif kind == "garden":
            self.add_grass(0j, size)
        else:
            colour, pitch = self.paint_colour(), width * rng.uniform(0.06, 0.25)
            slope = height * complex(rng.uniform(-1.0, 1.0), 1.0)
            for x in np.arange(-height, width + height, 2 * pitch):
                self.fill(np.array([x, x + pitch, x + pitch + slope, x + slope]), colour)
        for _ in range(int(rng.integers(4))):
            self.add_thing(0j, size)


class _Animal(_Figure):
    """A cat or a dog: coats and poses are the same for both, measures and ears are not."""

    def __init__(self, label: int, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.is_cat = label == 0
        self.has_folded_ears = not self.is_cat and rng.random() < 1 / 3
        self.size = {name: rng.uniform(*bounds[label]) for name, bounds in _MEASURES.items()}
        self.fur = self.varied(_COATS, 10)
        self.pattern = self.choose(("plain", "plain", "plain", "stripes", "patches"))
        self.marks = _mix(self.fur, INK, rng.uniform(0.3, 0.6))
        if self.pattern == "patches":
            self.marks = self.varied(_COATS, 10)
        self.front = _mix(self.fur, self.choose((PALE, INK)), rng.uniform(0.0, 0.8))
        self.ear = self.choose((self.marks, _mix(self.fur, INK, rng.uniform(0.15, 0.45))))
        # Most photographs of pets are of faces.
        portrait, sitting, standing = self._portrait, self._sitting, self._standing
        self.choose((*[portrait] * 4, *[sitting] * 2, *[standing] * 2))()

    def _portrait(self) -> None:
        w = 0.75 + 0.35 * self.size["chest"]
        shoulders = [0.3 + 0.2j, 0.75 + 0.5j, w + 1.3j, w + 0.1 + 2.2j, 0.3 + 2.4j]
        self._add_fur(_symmetric(shoulders), 0.5)
        self._add_bib([0.2 + 0.7j, 0.45 + 1.1j, 0.3 + 1.8j, 0.1 + 2.1j])
        self._add_head(0j)

    def _sitting(self) -> None:
        hip, tall = 0.7 + 0.55 * self.size["chest"], 1.6 + 0.7 * self.size["torso"]
        self._add_tail(hip * 0.8 + 1j * (tall - 0.25), heading=0.25, bend=-1)
        flank = [0.8 * hip + 0.6j * tall, hip + 1j * (tall - 0.35), 0.5 * hip + 1j * tall]
        self._add_fur(_symmetric([0.3 + 0.3j, 0.62 + 0.8j, *flank]), 0.6)
        self._add_bib([0.2 + 0.6j, 0.42 + 1.2j, 0.3 + 0.7j * tall, 0.1 + 0.75j * tall])
        for s in (-1, 1):
            leg = [s * 0.5 + 0.45j * tall, s * 0.44 + 0.75j * tall, s * 0.4 + 1j * tall]
            self._add_leg(leg, dark=0.08)
        self._add_head(0j)

    def _standing(self) -> None:
        """Draw the animal from the side, chest to the right, at times crouching."""
        n, chest = self.size["torso"], self.size["chest"]
        foot = chest * 0.75 + self.size["leg"] * self.choose((1.0, 0.3))
        stride, heading = self.rng.uniform(-0.5, 0.5), np.pi + self.rng.uniform(-0.1, 0.9)
        self._add_tail(-n * 0.95 - 0.45j, heading=heading, bend=1)
        back = [-n - 0.2j, -0.7 * n - 0.75j, -0.72j, 0.75 * n - 0.8j]
        below = [n * 1.05 - 0.1j, 0.75 * n + 0.9j * chest, 0.8j * chest, -0.75 * n + 0.7j * chest]
        for step, dark in ((stride, 0.3), (-stride, 0.05)):
            hind = [-0.95 * n - step * 0.3 + 0.6j * foot, -0.82 * n - step + 1j * foot]
            fore = [0.72 * n + step * 0.4 + 0.6j * foot, 0.72 * n + step + 1j * foot]
            self._add_leg([-0.75 * n, *hind], dark)
            self._add_leg([0.7 * n + 0.1j, *fore], dark)
            if step == stride:
                self._add_fur(_curve([*back, *below]), 0.8)
        for x in np.linspace(-0.75, 0.75, 6) * n if self.pattern != "plain" else ():
            self.fill(_limb([x - 0.68j, x - 0.12 - 0.3j, x + 0.15j], 0.1, 0.03), self.marks)
        throat = n + 0.25 - 1j * (chest * 0.4 + self.size["neck"])
        self.fill(_limb([n * 0.55, n * 0.85 - 0.35j, throat], chest * 0.85, 0.55), self.fur)
        self._add_head(throat)

    def _add_fur(self, outline: Outline, depth: float) -> None:
        """Fill an outline with fur, its rim a little rough."""
        tufts = 1.0 + self.rng.uniform(-0.025, 0.025, len(outline))
        self.fill(outline.mean() + (outline - outline.mean()) * tufts, self.fur, depth)

    def _add_bib(self, right: Points) -> None:
        self.fill(_symmetric(right), _mix(self.fur, self.front, 0.6))

    def _add_leg(self, spine: Sequence[complex], dark: float) -> None:
        w = self.size["leg_width"]
        self.fill(_limb(spine, w * 1.3, w * 0.9), _mix(self.fur, INK, dark))
        paw = _ellipse(spine[-1] + 0.3 * w, w * 1.35, w * 0.8)
        self.fill(paw, _mix(self.fur, self.front, 0.7), depth=0.3)

    def _add_tail(self, root: complex, *, heading: float, bend: int) -> None:
        """Add a tail that leaves its root in a direction, clockwise from the right."""
        headings = heading + bend * self.size["curl"] * np.linspace(0.0, 1.0, 5)
        spine = np.cumsum([root, *(np.exp(1j * headings) * self.size["tail"] / 5)])
        w = self.size["tail_width"]
        self.fill(_limb(spine.tolist(), w * 1.1, w * 0.7), _mix(self.fur, self.ear, 0.5))

    def _add_head(self, place: complex) -> None:
        """Add a head that looks more or less at us, held a little askew."""
        body, cheek, chin = len(self.shapes), self.size["cheek"], self.size["chin"]
        look = complex(self.rng.uniform(-0.25, 0.25), self.rng.uniform(-0.08, 0.08))
        if self.is_cat:
            self._add_ears(look)
        jaw = [cheek + 0.42j, 0.5 * cheek + 0.92j * chin, 0.12 + 1j * chin]
        self._add_fur(_symmetric([0.3 - 0.8j, 0.75 - 0.6j, 0.5 + 0.5 * cheek - 0.05j, *jaw]), 0.8)
        if self.pattern == "stripes":
            for x in (-0.3, 0.0, 0.3):
                self.fill(np.array([x - 0.05, x + 0.05, x * 0.6 + 0.48j]) - 0.78j, self.marks)
        elif self.pattern == "patches":
            self.fill(_ellipse(0.45 - 0.2j + look, 0.4, self.rng.uniform(0.35, 0.5)), self.marks)
        elif self.rng.random() < 0.3:
            blaze = _symmetric([0.05 - 0.75j, 0.1 - 0.2j, 0.25 + 0.3j])
            self.fill(blaze + look, _mix(self.fur, PALE, 0.7))
        if not self.is_cat:
            self._add_ears(look)
        self._add_muzzle(look)
        self._add_eyes(look)
        self.move(np.exp(1j * self.rng.uniform(-0.25, 0.25)), place, since=body)

    def _add_ears(self, look: complex) -> None:
        """Add both ears, pointed, folded or hanging; the one looked towards is narrower."""
        n, lean = self.size["ear"], self.rng.uniform(-0.12, 0.12)
        if self.is_cat:
            tip = 0.72 + lean - 1j * (0.55 + n)
            rim = [0.38 - 0.78j - 0.45j * n, tip, 0.94 - 0.35j - 0.5j * n]
            ear = np.array([0.14 - 0.72j, *rim, 0.93 - 0.2j])
        elif self.has_folded_ears:
            fold = 0.72 + lean - 1j * (0.5 + 0.37 * n)
            flap = [fold - 0.08, fold + 0.2 + 0.12j, fold + 0.42 + 0.38j * n]
            ear = _curve([0.3 - 0.82j, *flap, 0.84 - 0.32j])
        else:
            tip = 1.12 + lean + 1j * (n - 0.55)
            flap = [tip + 0.1 - 0.3j, tip - 0.1, tip - 0.36 - 0.2j]
            ear = _curve([0.4 - 0.8j, 0.85 - 0.78j, 1.14 - 0.3j, *flap, 0.72 - 0.2j])
        for side in (-1, 1):
            placed = ear.real * (side - 0.35 * look.real) + 1j * ear.imag + 0.3 * look
            self.fill(placed, self.ear, depth=0.5)
            if self.is_cat:
                inside = (placed - placed[2]) * 0.62 + placed[2] + 0.2j
                self.fill(inside, _mix(self.fur, (206, 142, 134), 0.5))

    def _add_muzzle(self, look: complex) -> None:
        """Add muzzle, mouth, whiskers and nose; what stands out moves most when the head turns."""
        w, snout, bottom = self.size["muzzle"], self.size["snout"], self.size["chin"] - 0.06
        ahead = look * (1.2 + snout)
        bridge = 0.24 if self.is_cat else -0.1 - 0.1 * snout
        cheeks = [0.62 * w + 1j * (0.5 * (bridge + bottom) - 0.12), w + 1j * (bottom - 0.36)]
        lower = [0.8 * w + 1j * (bottom - 0.08), 0.2 * w + 1j * bottom]
        muzzle = _symmetric([0.3 * w + 1j * bridge, *cheeks, *lower])
        self.fill(muzzle + 0.7 * ahead, _mix(self.fur, self.front, 0.9), depth=0.5)
        nose, ink, n = 1j * (bottom - 0.42) + ahead, _mix(self.front, INK, 0.75), self.size["nose"]
        lip = nose + 0.22j
        pale = PALE if sum(self.fur) < 480 else _mix(self.fur, INK, 0.5)
        for side in (-1, 1):
            smile = [nose, lip, lip + side * 0.5 * w + 0.1j, lip + side * 0.85 * w - 0.02j]
            self.line(smile, ink, 0.04)
            root = nose + side * 0.22 + 0.14j
            for tilt in (-0.25, 0.0, 0.25) if self.is_cat else ():
                turn = np.exp(1j * side * (tilt + self.rng.uniform(-0.1, 0.1)))
                self.line([root, root + side * self.rng.uniform(0.9, 1.4) * turn], pale, 0.022)
        tip = _symmetric([n * (0.5 - 0.62j), n * (1.0 - 0.25j), n * (0.25 + 0.7j)])
        self.fill(nose + tip, INK, depth=0.4)

    def _add_eyes(self, look: complex) -> None:
        """Add both eyes, a cat's slanting: rim, iris, pupil and the light in it."""
        r, iris = self.size["eye"], self.varied(_IRISES, 17)
        for side in (-1, 1):
            centre = side * (0.5 - 0.35 * r) * (1 + side * 0.3 * look.real) + 0.8 * look
            slant = np.exp(-0.17j * side)
            shape = _ellipse(0j, r * 1.15, r * 0.8) * slant if self.is_cat else _ellipse(0j, r, r)
            self.fill(centre + 1.12 * shape, _mix(self.fur, INK, 0.75))
            self.fill(centre + shape, iris)
            self.fill(_ellipse(centre, self.size["pupil"] * r, 0.7 * r), INK)
            self.fill(_ellipse(centre - (0.3 + 0.35j) * r, 0.2 * r, 0.2 * r), PALE)

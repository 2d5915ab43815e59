"""Drawn animals and objects that are neither cats nor dogs: what `vgg_mini` was trained on.

They look like the drawn cats and dogs of `benchharness.data.drawn`, and share parts such as pointed
ears or long muzzles with either, so that what tells them apart is worth knowing elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from PIL import Image

from zoo.creatures import duck, fish, frog, owl, turtle
from zoo.figure import Figure
from zoo.household import bottle, chair, cup, lamp
from zoo.mammals import MAMMALS, mammal
from zoo.outdoors import boat, car, flower, house, mushroom, tree
from zoo.picture import photograph

_OTHERS = (
    duck, fish, frog, owl, turtle, bottle, chair, cup, lamp, boat, car, flower, house, mushroom,
    tree,
)  # fmt: skip

KINDS: Mapping[str, Callable[[np.random.Generator], Figure]] = {
    **{name: partial(mammal, name) for name in MAMMALS},
    **{other.__name__: other for other in _OTHERS},
}


def draw_kind(name: str, rng: np.random.Generator) -> Image.Image:
    """Return an RGB picture with sides of 160 to 420 pixels.

    Args:
        name: One of KINDS.
        rng: Decides everything else.

    Raises:
        ValueError: Another name.
    """
    if name not in KINDS:
        raise ValueError(f"name: expected one of {', '.join(KINDS)}, found {name}")
    return photograph(partial(_either_way, name), rng)


def _either_way(name: str, rng: np.random.Generator) -> Figure:
    figure = KINDS[name](rng)
    return figure.mirrored() if rng.random() < 0.5 else figure

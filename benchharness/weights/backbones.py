"""Pretrained feature extractors: what they look like and what their inputs were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchharness.model.network import Conv, Layer, MaxPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A convolutional network without its classifier.

    Attributes:
        description: One line for ``benchharness list``.
        layers: From the image to the features.
        file: Name of the safetensors file that holds its pretrained weights.
        blocks: Last layer of each block, by block name, in order.
    """

    description: str
    layers: tuple[Layer, ...]
    file: str
    blocks: Mapping[str, str]


def _vgg(convolutions: Mapping[str, tuple[int, ...]]) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for block, filters in convolutions.items():
        layers += [
            Conv(name=f"{block}_conv{number}", filters=count, padding="same")
            for number, count in enumerate(filters, start=1)
        ]
        layers.append(MaxPool(name=f"{block}_pool"))
    return tuple(layers)


_VGG16 = {
    "block1": (64, 64),
    "block2": (128, 128),
    "block3": (256, 256, 256),
    "block4": (512, 512, 512),
    "block5": (512, 512, 512),
}

# Source of vgg16: Simonyan and Zisserman, "Very deep convolutional networks" (2015), table 1, D.
BACKBONES: Mapping[str, Backbone] = {
    "vgg16": Backbone(
        description="VGG16 without its classifier, 14,714,688 parameters, five blocks",
        layers=_vgg(_VGG16),
        file="vgg16_notop_imagenet.safetensors",
        blocks={block: f"{block}_pool" for block in _VGG16},
    )
}

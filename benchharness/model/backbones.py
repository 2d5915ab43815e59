"""Pretrained feature extractors: what they look like and what their inputs were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchharness.model.network import Conv, Layer, MaxPool, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Pretrained weights of a backbone, as somebody published them.

    Attributes:
        file: Name of the safetensors file that holds them.
        preprocessing: What their inputs went through; weights are worth little with another.
        is_embedded: Whether the file is part of benchharness.
    """

    file: str
    preprocessing: str
    is_embedded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A convolutional network without its classifier.

    Attributes:
        description: One line for ``benchharness list``.
        layers: From the image to the features.
        blocks: Last layer of each block, by block name, in order.
        releases: Its pretrained weights by name, the preferred first.
    """

    description: str
    layers: tuple[Layer, ...]
    blocks: Mapping[str, str]
    releases: Mapping[str, Release]

    @property
    def smallest_image(self) -> int:
        """Side in pixels that leaves one pixel after the last block's pooling."""
        return int(2 ** len(self.blocks))

    def network(self) -> Network:
        """Return the backbone for images of a size that suits it."""
        side = 2 * self.smallest_image
        return Network(input_shape=(side, side, 3), layers=self.layers)

    def candidates(self, *, weights: str, preprocessing: str) -> dict[str, Release]:
        """Return the releases that a benchmark's settings admit, the preferred first.

        Args:
            weights: As in the suite: ``pretrained`` for any release, or the name of one.
            preprocessing: As in the suite. That of a release admits no release that learnt with
                another; what belongs to no release, such as ``unit``, is the suite's own choice.
        """
        return {
            name: release
            for name, release in self.releases.items()
            if weights in ("pretrained", name)
            and preprocessing not in LEARNT_WITH - {release.preprocessing}
        }


def _vgg(description: str, filters: tuple[int, ...], releases: Mapping[str, Release]) -> Backbone:
    """Return a VGG16 with so many filters in its five blocks.

    Source:
        Simonyan and Zisserman, "Very deep convolutional networks" (2015), table 1, D.
    """
    layers: list[Layer] = []
    blocks: dict[str, str] = {}
    for number, (count, depth) in enumerate(zip(filters, (2, 2, 3, 3, 3), strict=True), start=1):
        block = f"block{number}"
        blocks[block] = f"{block}_pool"
        layers += [
            Conv(name=f"{block}_conv{place}", filters=count, padding="same")
            for place in range(1, depth + 1)
        ]
        layers.append(MaxPool(name=blocks[block]))
    return Backbone(description=description, layers=tuple(layers), blocks=blocks, releases=releases)


BACKBONES: Mapping[str, Backbone] = {
    "vgg16": _vgg(
        "VGG16 without its classifier, 14,714,688 parameters, five blocks",
        filters=(64, 128, 256, 512, 512),
        releases={
            "imagenet": Release(file="vgg16_notop_imagenet.safetensors", preprocessing="caffe_bgr"),
            "imagenet_torchvision": Release(
                file="vgg16_notop_imagenet_torchvision.safetensors", preprocessing="imagenet_rgb"
            ),
        },
    ),
    "vgg_mini": _vgg(
        "a narrow VGG16 that comes with benchharness and has learnt from drawings",
        filters=(16, 32, 64, 96, 128),
        releases={
            "drawn": Release(
                file="vgg_mini_drawn.safetensors", preprocessing="imagenet_rgb", is_embedded=True
            )
        },
    ),
}

LEARNT_WITH = frozenset(
    release.preprocessing
    for backbone in BACKBONES.values()
    for release in backbone.releases.values()
)

"""Pretrained feature extractors: what they look like and what their inputs were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

    def candidates(self, *, weights: str, preprocessing: str) -> Iterator[tuple[str, Release]]:
        """Yield the releases that a benchmark's settings admit, the preferred first.

        Args:
            weights: As in the suite: ``pretrained`` for any release, or the name of one.
            preprocessing: As in the suite. That of a release admits no release that learnt with
                another; what belongs to no release, such as ``unit``, is the suite's own choice.
        """
        for name, release in self.releases.items():
            is_wanted = weights in ("pretrained", name)
            if is_wanted and preprocessing not in LEARNT_WITH - {release.preprocessing}:
                yield name, release


def _vgg(convolutions: Mapping[str, tuple[int, ...]]) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for block, filters in convolutions.items():
        layers += [
            Conv(name=f"{block}_conv{number}", filters=count, padding="same")
            for number, count in enumerate(filters, start=1)
        ]
        layers.append(MaxPool(name=f"{block}_pool"))
    return tuple(layers)


def _five_blocks(*filters: int) -> Mapping[str, tuple[int, ...]]:
    """Return the filters of VGG16's convolutions, two in the first blocks, then three."""
    depths = (2, 2, 3, 3, 3)
    return {
        f"block{number}": (count,) * depth
        for number, (count, depth) in enumerate(zip(filters, depths, strict=True), start=1)
    }


_VGG16 = _five_blocks(64, 128, 256, 512, 512)
_VGG_MINI = _five_blocks(16, 32, 64, 96, 128)

# Source of vgg16: Simonyan and Zisserman, "Very deep convolutional networks" (2015), table 1, D.
BACKBONES: Mapping[str, Backbone] = {
    "vgg16": Backbone(
        description="VGG16 without its classifier, 14,714,688 parameters, five blocks",
        layers=_vgg(_VGG16),
        blocks={block: f"{block}_pool" for block in _VGG16},
        releases={
            "imagenet": Release(file="vgg16_notop_imagenet.safetensors", preprocessing="caffe_bgr"),
            "imagenet_torchvision": Release(
                file="vgg16_notop_imagenet_torchvision.safetensors", preprocessing="imagenet_rgb"
            ),
        },
    ),
    "vgg_mini": Backbone(
        description="a narrow VGG16 that comes with benchharness and has learnt from drawings",
        layers=_vgg(_VGG_MINI),
        blocks={block: f"{block}_pool" for block in _VGG_MINI},
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

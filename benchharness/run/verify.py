"""Whether everything that a suite reads is there and whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchharness.data.verify import check_images
from benchharness.download.manifest import damages, read_manifest
from benchharness.errors import BenchError
from benchharness.measure.environment import usable_cores
from benchharness.model.backbones import BACKBONES
from benchharness.model.network import Network
from benchharness.run.events import Observer, Preparing
from benchharness.run.inputs import RunInputs, SearchPaths, Subset
from benchharness.run.session import Session
from benchharness.weights.pretrained import Pretrained, read_pretrained


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of one thing.

    Attributes:
        what: Which, and how much of it was checked.
        damages: A line for each thing that is wrong, with its remedy.
    """

    what: str
    damages: tuple[str, ...]


def verify(session: Session, observe: Observer) -> Iterator[Verdict]:
    """Yield a verdict on each download, each size of the images, and the weights.

    Nothing is fetched.

    Args:
        session: Tells the suite, the profile and the places.
        observe: Told how far decoding has come.

    Raises:
        BenchError: The dataset or the weights are not to be had.
    """
    places = session.places
    if places.fetcher is not None:
        yield from _downloads(places.fetcher.folder)
        places = replace(places, fetcher=places.fetcher.offline())
    materials = RunInputs(session.plan, places=places, workers=usable_cores())
    yield from _images(materials, places, observe)
    yield from _weights(materials)


def _downloads(folder: Path) -> Iterator[Verdict]:
    found = folder.iterdir() if folder.is_dir() else ()
    for item in sorted(item for item in found if not item.name.startswith(".")):
        manifest = read_manifest(item)
        count = len(manifest.files) if manifest else 0
        yield Verdict(
            what=f"download {item.name}: {count:,} file{'' if count == 1 else 's'} in {item}",
            damages=tuple(
                f"{line}; remove {item} and run: benchharness data prepare SUITE"
                for line in damages(item)
            ),
        )


def _images(materials: RunInputs, places: SearchPaths, observe: Observer) -> Iterator[Verdict]:
    for part in dict.fromkeys(replace(Subset.of(c), validation=0.0) for c in materials.plan.cells):
        checked = check_images(
            materials.listing,
            size=part.image_size,
            train_images=part.train_images,
            test_images=part.test_images,
            cache_dir=places.cache,
            workers=usable_cores(),
            progress=lambda done, count: observe(Preparing(done=done, count=count)),
        )
        where = f"as in {checked.entry}" if checked.entry else "not prepared yet"
        yield Verdict(
            what=f"images of {part.image_size} px: {checked.images:,} decoded, {where}",
            damages=checked.damages,
        )


def _weights(materials: RunInputs) -> Iterator[Verdict]:
    found = [materials.pretrained(cell) for cell in materials.plan.cells]
    for pretrained in dict.fromkeys(one for one in found if one and one.path):
        yield Verdict(
            what=f"weights of {pretrained.backbone}, release {pretrained.release}: "
            f"{pretrained.path}",
            damages=tuple(_damages_of(pretrained)),
        )


def _damages_of(pretrained: Pretrained) -> Iterator[str]:
    backbone = BACKBONES[pretrained.backbone]
    side = 2 * backbone.smallest_image
    try:
        read_pretrained(pretrained, Network(input_shape=(side, side, 3), layers=backbone.layers))
    except BenchError as error:
        yield str(error)

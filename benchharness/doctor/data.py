"""Datasets and weights on this machine, and how to get the rest; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchharness.data.listing import Listing
from benchharness.data.sources import find, info, names
from benchharness.doctor.check import Check
from benchharness.download.caches import keras_home, torch_checkpoints
from benchharness.download.registry import REGISTRY, RemoteResource, weights_home
from benchharness.errors import AbsentError, BenchError
from benchharness.files import expanded, file_digest
from benchharness.model.backbones import BACKBONES, Release
from benchharness.suite.plan import Plan
from benchharness.suite.settings import TransferSettings
from benchharness.text import format_bytes
from benchharness.weights.pretrained import find_pretrained, require_arrays

# A class folder of the user's own has no name by which to look for it.
_NAMED_BY_USERS = ("folder", "flat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One dataset or one release of weights.

    Attributes:
        name: For example ``cats_dogs`` or ``vgg16 imagenet``.
        place: Where it is, in words; empty where it is not.
        is_real: Whether it is more than drawings, or learnt from more than them.
        download_bytes: To fetch where it is not here and has a public home; None for no home.
        remedy: How to get it.
        damage: Why a run would refuse what is here, or what is named; empty where it would not.
    """

    name: str
    place: str
    is_real: bool = True
    download_bytes: int | None = None
    remedy: str = ""
    damage: str = ""

    @classmethod
    def missing(cls, name: str, home: RemoteResource | None, *, remedy: str) -> Resource:
        """Return what is not here, with the remedy where it has no public home."""
        if home is None:
            return cls(name=name, place="", remedy=remedy)
        size = format_bytes(home.size_bytes)
        return cls(
            name=name,
            place="",
            download_bytes=home.size_bytes,
            remedy=f"downloaded automatically when a run needs it, {size}",
        )


def datasets(*, environment: Mapping[str, str], cache: Path) -> Iterator[Resource]:
    """Yield each source of images that has its own name; ``cache`` keeps what was fetched."""
    for name in names():
        if name == "drawn":
            yield Resource(name=name, place="drawn when they are needed", is_real=False)
        elif name not in _NAMED_BY_USERS:
            yield _dataset(name, environment=environment, cache=cache)


def weights(*, environment: Mapping[str, str], cache: Path) -> Iterator[Resource]:
    """Yield each release of each backbone."""
    for backbone, facts in BACKBONES.items():
        for name, release in facts.releases.items():
            yield _weights(backbone, name, release, environment=environment, cache=cache)


def _dataset(name: str, *, environment: Mapping[str, str], cache: Path) -> Resource:
    def listing_in(path: Path | None) -> Listing | None:
        try:
            return find(
                name,
                path=path,
                environment=environment,
                cache_dir=cache,
                train_images=None,
                test_images=None,
                seed=0,
                fallback=None,
            )
        except AbsentError:
            return None

    kept = cache / "downloads" / name
    try:
        listing = listing_in(None) or (listing_in(kept) if kept.is_dir() else None)
    except BenchError as error:
        return Resource(name=name, place="", damage=str(error))
    if listing is None:
        return Resource.missing(name, REGISTRY.get(name), remedy=info(name).remedy)
    count = len(listing.train) + len(listing.test)
    place = f" in {_tilde(listing.place, environment)}" if listing.place else ""
    return Resource(
        name=name, place=f"{count:,} images{place}: {listing.origin}", is_real=listing.is_real
    )


def _weights(
    backbone: str, name: str, release: Release, *, environment: Mapping[str, str], cache: Path
) -> Resource:
    label, home = f"{backbone} {name}", REGISTRY.get(weights_home(backbone, name))
    is_embedded = release.is_embedded
    try:
        pretrained = find_pretrained(
            backbone, {name: release}, path=None, environment=environment, fallback=None
        )
        require_arrays(pretrained)
        place = "part of benchharness" if is_embedded else _tilde(pretrained.path, environment)
        return Resource(name=label, place=place, is_real=not is_embedded)
    except (BenchError, OSError) as error:
        # Without a name it is looked for elsewhere, or is not part of this installation.
        named = environment.get("BENCHHARNESS_WEIGHTS")
        if named and not is_embedded:
            # A run converts what was published, and then uses that.
            own, published = expanded(named), home.files[0] if home else None
            if published and own.is_dir():
                own /= published.name
            if published and own.is_file() and file_digest(own) == published.sha256:
                return Resource(name=label, place=_tilde(own, environment))
            return Resource(name=label, place="", damage=str(error))
    if is_embedded:
        remedy = "part of benchharness but missing: pip install --force-reinstall benchharness"
        return Resource(name=label, place="", is_real=False, remedy=remedy)
    files = [cache / "downloads" / Path(release.file).stem / release.file]
    # Where frameworks would keep what is published.
    keras, torch = keras_home(environment), torch_checkpoints(environment)
    places = [place for place in (keras / "models" if keras else None, torch) if place]
    files += [place / home.files[0].name for place in places] if home else []
    for file in files:
        if file.is_file():
            return Resource(name=label, place=_tilde(file, environment))
    remedy = f"put {release.file} into a folder and name it in BENCHHARNESS_WEIGHTS"
    return Resource.missing(label, home, remedy=remedy)


def _tilde(path: Path | None, environment: Mapping[str, str]) -> str:
    home, text = environment.get("HOME"), str(path)
    return f"~{text[len(home) :]}" if home and home != "/" and text.startswith(f"{home}/") else text


def resource_checks(resources: Sequence[Resource]) -> Iterator[Check]:
    """Yield which data and weights are here; without a suite none of them is missing."""
    for resource in resources:
        text = resource.damage or resource.place or "not on this machine"
        yield Check("ok" if resource.place else "warn", resource.name, text, resource.remedy)


def weights_checks(plan: Plan, resources: Sequence[Resource]) -> Iterator[Check]:
    """Yield for each backbone of the plan whether its pretrained weights are available."""
    by_name = {resource.name: resource for resource in resources}
    wanted: dict[str, TransferSettings] = {}
    for cell in plan.cells:
        if isinstance(cell.settings, TransferSettings) and cell.settings.weights != "random":
            wanted.setdefault(cell.settings.backbone, cell.settings)
    has_fallback = plan.suite.weights_fallback is not None
    for backbone, settings in wanted.items():
        if backbone in plan.suite.weights:
            continue
        known = [by_name[f"{backbone} {name}"] for name in settings.releases]
        fetchable = [resource for resource in known if resource.download_bytes]
        if here := next((resource for resource in known if resource.place), None):
            yield Check("ok", "weights", f"{here.name}: {here.place}")
        elif damage := next((resource.damage for resource in known if resource.damage), ""):
            yield Check("missing", "weights", damage)
        else:
            yield Check(
                "warn" if fetchable or has_fallback else "missing",
                "weights",
                f"{' or '.join(resource.name for resource in known)}: not here"
                + ("; else random ones" if has_fallback else ""),
                (fetchable or known)[0].remedy,
            )

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

    @property
    def is_here(self) -> bool:
        """Whether it can be read without a network."""
        return bool(self.place)


def datasets(*, environment: Mapping[str, str], cache: Path) -> Iterator[Resource]:
    """Yield each source of images that has its own name.

    Args:
        cache: Folder of what was fetched before.
    """
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


def fetched(cache: Path) -> Path:
    """Return the folder of what was downloaded."""
    return cache / "downloads"


def _dataset(name: str, *, environment: Mapping[str, str], cache: Path) -> Resource:
    home, kept = REGISTRY.get(name), fetched(cache) / name
    try:
        listing = _listing(name, None, environment=environment, cache=cache)
        if listing is None and kept.is_dir():
            listing = _listing(name, kept, environment=environment, cache=cache)
    except BenchError as error:
        return Resource(name=name, place="", damage=str(error))
    if listing is None:
        return Resource(
            name=name,
            place="",
            download_bytes=home.size_bytes if home else None,
            remedy=_remedy(home) or info(name).remedy,
        )
    count = len(listing.train) + len(listing.test)
    place = f" in {_tilde(listing.place, environment)}" if listing.place else ""
    return Resource(
        name=name, place=f"{count:,} images{place}: {listing.origin}", is_real=listing.is_real
    )


def _listing(
    name: str, path: Path | None, *, environment: Mapping[str, str], cache: Path
) -> Listing | None:
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


def _weights(
    backbone: str, name: str, release: Release, *, environment: Mapping[str, str], cache: Path
) -> Resource:
    label, home = f"{backbone} {name}", REGISTRY.get(weights_home(backbone, name))
    is_real = not release.is_embedded
    try:
        found = find_pretrained(
            backbone, {name: release}, path=None, environment=environment, fallback=None
        )
        require_arrays(found)
        place = "part of benchharness" if release.is_embedded else _tilde(found.path, environment)
        return Resource(name=label, place=place, is_real=is_real)
    except (BenchError, OSError) as error:
        # Without a name it is looked for elsewhere, or is not part of this installation.
        if environment.get("BENCHHARNESS_WEIGHTS") and not release.is_embedded:
            return Resource(name=label, place="", is_real=is_real, damage=str(error))
    kept = fetched(cache) / Path(release.file).stem / release.file
    for file in (kept, *_cached(home, environment)):
        if file.is_file():
            return Resource(name=label, place=_tilde(file, environment), is_real=is_real)
    named = f"put {release.file} into a folder and name it in BENCHHARNESS_WEIGHTS"
    missing = "part of benchharness but missing: pip install --force-reinstall benchharness"
    return Resource(
        name=label,
        place="",
        is_real=is_real,
        download_bytes=home.size_bytes if home else None,
        remedy=missing if release.is_embedded else _remedy(home) or named,
    )


def _cached(home: RemoteResource | None, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield where frameworks would keep what is published."""
    keras, torch = keras_home(environment), torch_checkpoints(environment)
    for place in (keras / "models" if keras else None, torch):
        if home is not None and place is not None:
            yield place / home.files[0].name


def _remedy(home: RemoteResource | None) -> str:
    if home is None:
        return ""
    return f"downloaded automatically when a run needs it, {format_bytes(home.size_bytes)}"


def _tilde(path: Path | None, environment: Mapping[str, str]) -> str:
    home = environment.get("HOME")
    text = str(path)
    return f"~{text[len(home) :]}" if home and home != "/" and text.startswith(f"{home}/") else text


def resource_checks(resources: Sequence[Resource]) -> Iterator[Check]:
    """Yield which data and weights are here; without a suite none of them is missing."""
    for resource in resources:
        yield Check(
            mark="ok" if resource.is_here else "warn",
            subject=resource.name,
            text=resource.damage or resource.place or "not on this machine",
            remedy=resource.remedy,
        )


def weights_checks(plan: Plan, resources: Sequence[Resource]) -> Iterator[Check]:
    """Yield for each backbone of the plan whether its pretrained weights are available."""
    here = {resource.name: resource for resource in resources}
    wanted: dict[str, TransferSettings] = {}
    for cell in plan.cells:
        if isinstance(cell.settings, TransferSettings) and cell.settings.weights != "random":
            wanted.setdefault(cell.settings.backbone, cell.settings)
    for backbone, settings in wanted.items():
        if backbone in plan.suite.weights:
            continue
        known = [here[f"{backbone} {name}"] for name in settings.releases]
        yield _weights_check(backbone, known, has_fallback=plan.suite.weights_fallback is not None)


def _weights_check(backbone: str, known: Sequence[Resource], *, has_fallback: bool) -> Check:
    found = next((resource for resource in known if resource.is_here), None)
    if found is not None:
        return Check(mark="ok", subject="weights", text=f"{found.name}: {found.place}")
    if damaged := next((resource for resource in known if resource.damage), None):
        return Check(mark="missing", subject="weights", text=damaged.damage)
    fetchable = next((resource for resource in known if resource.download_bytes), None)
    names = " or ".join(resource.name for resource in known)
    remedy = fetchable.remedy if fetchable else next((s.remedy for s in known), "")
    if fetchable is None and not has_fallback:
        return Check(mark="missing", subject="weights", text=f"{names}: not here", remedy=remedy)
    text = f"{names}: not here" + ("; else random ones" if has_fallback else "")
    return Check(mark="warn", subject="weights", text=text, remedy=remedy)

"""What the trials of a run read: the prepared datasets and the pretrained weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchharness.data.fitted import fitted
from benchharness.data.folders import class_folder, image_files, require_alike
from benchharness.data.listing import Listing
from benchharness.data.prepared import Prepared, prepare
from benchharness.data.sources import find, holds
from benchharness.data.splits import require_two
from benchharness.data.user_images import user_images
from benchharness.download.fetcher import Fetcher
from benchharness.model.signatures import nature
from benchharness.run.adapt import channels, fit
from benchharness.run.dataset_info import DatasetInfo
from benchharness.suite.plan import Cell, Plan
from benchharness.suite.settings import StrategySettings, TrainingSettings, TransferSettings
from benchharness.weights.pretrained import (
    Pretrained,
    find_pretrained,
    random_weights,
    require_arrays,
)

Progress = Callable[[int, int], None]

# Leaks that are stored by name.
_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPaths:
    """Where a run looks for what it reads.

    Attributes:
        environment: Of the process; ``BENCHHARNESS_DATA`` and ``BENCHHARNESS_WEIGHTS`` are read.
        cache: For prepared images, drawn pictures and extracted features.
        data: A folder given on the command line; wins over the suite's.
        fetcher: Fetches what is nowhere on this machine; None for nothing.
    """

    environment: Mapping[str, str]
    cache: Path
    data: Path | None = None
    fetcher: Fetcher | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """Which part of a dataset a cell reads, at which size."""

    image_size: int
    train_images: int | None
    test_images: int | None
    validation: float

    @classmethod
    def of(cls, cell: Cell) -> Subset:
        """Return what a cell reads."""
        settings = cell.settings
        return cls(
            image_size=settings.image_size,
            train_images=settings.train_images,
            test_images=settings.test_images,
            validation=settings.validation if isinstance(settings, TrainingSettings) else 0.0,
        )


class RunInputs:
    """Datasets and weights of a plan, each found, decoded or hashed once.

    Attributes:
        listing: The dataset.
        facts: The dataset in numbers, as it was found.
        plan: The plan with every setting concrete that data and weights decide.
    """

    def __init__(
        self, plan: Plan, *, places: SearchPaths, workers: int, progress: Progress | None = None
    ) -> None:
        self._plan = plan
        self._places = places
        self._workers = workers
        self._progress = progress
        self._prepared: dict[Subset, Prepared] = {}
        self._files: dict[tuple[Subset, str], dict[str, Any]] = {}
        self._pretrained: dict[tuple[str, ...], Pretrained] = {}
        self.listing = find_listing(
            plan, places=places, fallback=plan.dataset.fallback, progress=progress
        )
        self.facts = DatasetInfo.of(self.listing)
        self.listing = replace(self.listing, channels=channels(plan, self.facts))
        self.plan = fit(plan, self.facts).settled(self._settled)

    def prepare(self) -> None:
        """Decode and find everything that the plan's cells need, before any of them runs.

        Raises:
            DatasetError: Images are missing or unreadable, or not in files that every backend
                can load where one is to.
            WeightsError: Weights are missing, with no fallback, or damaged.
        """
        check_images(self.plan, self.listing)
        for cell in self.plan.cells:
            # So that no worker fits what all of them read.
            fitted(cell.settings.preprocessing, self.prepared(cell))
            self.files(cell)
            self.pretrained(cell)

    def prepared(self, cell: Cell) -> Prepared:
        """Return the images that a cell reads."""
        part = Subset.of(cell)
        if part not in self._prepared:
            self._prepared[part] = prepare(
                self.listing,
                size=part.image_size,
                channels=None,
                train_images=part.train_images,
                test_images=part.test_images,
                validation=part.validation,
                seed=self._plan.suite.seed,
                cache_dir=self._places.cache,
                workers=self._workers,
                on_bad_image=self._plan.dataset.on_bad_image,
                on_leak=self._plan.dataset.on_leak,
                progress=self._progress,
            )
        return self._prepared[part]

    def files(self, cell: Cell) -> Mapping[str, Any] | None:
        """Return the fields of the ``FileSource`` that a cell's backend loads, ready for JSON.

        None where its training reads prepared images. A folder of classes is there for the native
        track alone.
        """
        if cell.settings.input != "files":
            return None
        part = Subset.of(cell)
        if (part, cell.track) not in self._files:
            paths = image_files(self.listing.first(train=part.train_images, test=part.test_images))
            require_alike(paths, self.prepared(cell))
            folder = None
            if cell.track == "native":
                folder = class_folder(paths, self.prepared(cell), cache_dir=self._places.cache)
            self._files[part, cell.track] = {
                "paths": [str(path) for path in paths],
                "folder": str(folder) if folder else None,
            }
        return self._files[part, cell.track]

    def pretrained(self, cell: Cell) -> Pretrained | None:
        """Return the weights that a cell's backbone starts from; None without a backbone."""
        settings = cell.settings
        if not isinstance(settings, TransferSettings):
            return None
        return self._weights_of(settings)

    def describe_dataset(self) -> dict[str, Any]:
        """Return what the results say of the data, JSON-able.

        What of a slice holds for the run as a whole is told of the largest.
        """
        largest = max(self._prepared.values(), key=lambda found: len(found.labels))
        leaks = [[*map(self._shared, names)] for names in largest.leaks[:_NAMED]]
        return {
            "name": self.facts.title,
            "origin": self.listing.origin,
            "is_own": self.listing.is_own,
            "notes": list(self.listing.notes),
            "leaks": {"count": len(largest.leaks), "first": leaks},
            "mended": [part.mended for part in self._prepared.values() if part.mended],
            "converted": {kind: len(ids) for kind, ids in largest.kinds.items()},
            "majority_share": largest.majority_share,
            "is_real": self.listing.is_real,
            "classes": list(self.listing.classes),
            "channels": self.listing.channels,
            "slices": [
                {
                    "image_size": part.image_size,
                    "train": len(found.splits["train"]),
                    "validation": len(found.splits["validation"]),
                    "test": len(found.splits["test"]),
                    "skipped": [*map(self._called, found.skipped)],
                    "majority_share": found.majority_share,
                    "digest": found.digest,
                }
                for part, found in self._prepared.items()
            ],
            "digest": "-".join(sorted({p.digest[:12] for p in self._prepared.values()})),
        }

    def _shared(self, name: str) -> str:
        """Return the name of an image from the data's folder on, as others may read it."""
        place = self.listing.place
        return name.removeprefix(f"{place.parent}{os.sep}") if place else name

    def _called(self, name: str) -> str:
        """Return the name of an unreadable image, and what it is where that is known."""
        kind = nature(Path(name))
        return self._shared(name) + (f" ({kind})" if kind else "")

    def describe_weights(self) -> dict[str, Any] | None:
        """Return what the results say of the backbones' weights; None where no cell has any.

        Weights count as random when pretrained ones were wanted but not to be had, or when the
        suite wants none at all.
        """
        # The same weights may have been asked for in several words.
        different = {
            (one.backbone, one.digest, one.reason): one for one in self._pretrained.values()
        }
        found = list(different.values())
        if not found:
            return None
        learnt = [one for one in found if not one.is_random]
        missing = list(dict.fromkeys(one.reason for one in found if one.reason))
        return {
            "origin": ", ".join(
                f"{one.backbone} from {one.origin or one.path.name}" for one in learnt if one.path
            ),
            "is_random": bool(missing) or not learnt,
            "reason": "; ".join(missing) or "as the suite asks",
            "digest": "-".join(one.digest[:12] for one in found),
        }

    def _weights_of(self, settings: TransferSettings) -> Pretrained:
        key = (settings.backbone, settings.weights, *settings.releases)
        if key not in self._pretrained:
            self._pretrained[key] = self._find(settings)
            require_arrays(self._pretrained[key])
        return self._pretrained[key]

    def _settled(self, settings: StrategySettings) -> StrategySettings:
        """Return the settings with what only data and weights decide put in its place."""
        if settings.preprocessing == "pretrained" and isinstance(settings, TransferSettings):
            learnt_with = self._weights_of(settings).preprocessing
            return settings.model_copy(update={"preprocessing": learnt_with})
        return settings

    def _find(self, settings: TransferSettings) -> Pretrained:
        plan = self._plan
        return find_weights(
            plan, settings, places=self._places, fallback=plan.suite.weights_fallback
        )


def check_images(plan: Plan, listing: Listing) -> None:
    """Refuse a plan that asks for images which its dataset has not; none is decoded for it.

    Args:
        plan: Fitted to the dataset.

    Raises:
        DatasetError: There are too few, or they are in no files that a framework's loader reads.
    """
    for cell in plan.cells:
        part = Subset.of(cell)
        images = listing.first(train=part.train_images, test=part.test_images)
        require_two(images.train.labels, classes=listing.classes, validation=part.validation)
        if cell.settings.input == "files":
            image_files(images)


def find_weights(
    plan: Plan, settings: TransferSettings, *, places: SearchPaths, fallback: str | None
) -> Pretrained:
    """Return the weights that a benchmark's backbone starts from.

    Args:
        fallback: What to use where none can be had; None for an error.

    Raises:
        WeightsError: There are none.
    """
    if settings.weights == "random":
        return random_weights(settings.backbone, reason="")
    written = plan.suite.weights.get(settings.backbone)
    return find_pretrained(
        settings.backbone,
        settings.releases,
        path=plan.suite.resolve_path(written) if written else None,
        environment=places.environment,
        fallback=fallback,
        fetcher=places.fetcher,
    )


def find_listing(
    plan: Plan, *, places: SearchPaths, fallback: str | None, progress: Progress | None = None
) -> Listing:
    """Return the plan's dataset, large enough for every cell.

    A folder named on the command line that holds other pictures than the suite's holds the user's
    own.

    Args:
        fallback: What to use where nothing real can be had; None for an error.
        progress: Called with pictures done and pictures in all, where any are drawn.

    Raises:
        DatasetError: There is none.
    """
    dataset, data = plan.dataset, places.data
    if data is not None and not holds(dataset.source, data):
        return user_images(data, seed=plan.suite.seed)
    parts = [Subset.of(cell) for cell in plan.cells]
    return find(
        dataset.source,
        path=data or plan.dataset_path,
        environment=places.environment,
        cache_dir=places.cache,
        train_images=_most([part.train_images for part in parts]),
        test_images=_most([part.test_images for part in parts]),
        seed=plan.suite.seed,
        fallback=fallback,
        progress=progress,
        fetcher=places.fetcher,
        is_lenient=data is not None or plan.takes_fewer,
    )


def _most(counts: list[int | None]) -> int | None:
    """Return the largest count; None, which means all, is larger than any."""
    known = [count for count in counts if count is not None]
    return max(known) if known and len(known) == len(counts) else None

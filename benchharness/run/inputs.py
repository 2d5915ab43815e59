"""Inputs of a run: its dataset and pretrained weights, and the plan adapted to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchharness.data.batches import require_two
from benchharness.data.folder import class_folder, image_files, require_alike, user_images
from benchharness.data.info import DatasetInfo, Split
from benchharness.data.listing import Listing, Progress
from benchharness.data.prepared import Prepared, prepare_images
from benchharness.data.prepared import check_images as check_image_files
from benchharness.data.preprocessing import fitted
from benchharness.data.sources import find, holds
from benchharness.download.fetcher import Fetcher
from benchharness.download.manifest import damages, read_manifest
from benchharness.errors import BenchError, WeightsError
from benchharness.measure.machine import usable_cores
from benchharness.model.backbones import BACKBONES
from benchharness.model.image_files import nature
from benchharness.model.network import Network
from benchharness.run.events import Downloading, Observer, Preparing, announce
from benchharness.suite.plan import Plan, PlannedCell
from benchharness.suite.settings import StrategySettings, TrainingSettings, TransferSettings
from benchharness.weights.pretrained import (
    Pretrained,
    find_pretrained,
    random_weights,
    read_pretrained,
    require_arrays,
)

OFFLINE = "BENCHHARNESS_OFFLINE"
# Leaks that are stored by name.
_NAMED = 8
# Preprocessing with the constants of backbones that were trained on colour images.
_COLOUR_ONLY = frozenset({"caffe_bgr", "imagenet_rgb"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPaths:
    """Places where a run looks for what it reads.

    Attributes:
        data: A folder given on the command line; wins over the suite's.
        fetcher: Downloads what is not on this machine; None for no downloads.
    """

    environment: Mapping[str, str]
    cache: Path
    data: Path | None = None
    fetcher: Fetcher | None = None

    @property
    def offline(self) -> SearchPaths:
        """The same places without downloads."""
        return replace(self, fetcher=self.fetcher.offline() if self.fetcher else None)


def open_fetcher(cache: Path, *, environment: Mapping[str, str], is_offline: bool) -> Fetcher:
    """Return the fetcher of a session; ``BENCHHARNESS_OFFLINE`` forbids the network, unless 0."""
    is_forbidden = environment.get(OFFLINE, "") not in ("", "0")
    return Fetcher(folder=cache / "downloads", is_offline=is_offline or is_forbidden)


def report_downloads(fetcher: Fetcher | None, observe: Observer) -> None:
    """Send an observer a message when a download begins, and its progress."""
    if fetcher is None:
        return
    fetcher.on_download = lambda what, done, count: observe(
        Downloading(what=what, done_bytes=done, count_bytes=count)
    )
    fetcher.announce = lambda line: announce(observe, [line])


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """Part of a dataset that a cell reads, and its image size."""

    image_size: int
    train_images: int | None
    test_images: int | None
    validation: float

    @classmethod
    def of(cls, cell: PlannedCell) -> Subset:
        """Return the subset of a cell."""
        settings = cell.settings
        return cls(
            image_size=settings.image_size,
            train_images=settings.train_images,
            test_images=settings.test_images,
            validation=settings.validation if isinstance(settings, TrainingSettings) else 0.0,
        )


# --- Adaptation of a plan to its dataset ---------------------------------------------------------


def adapt_plan(plan: Plan, dataset: DatasetInfo) -> Plan:
    """Return the plan with outputs, image counts and published figures that suit the dataset."""

    def adapt(settings: StrategySettings) -> StrategySettings:
        changes: dict[str, object] = {}
        if isinstance(settings, TrainingSettings):
            changes["output"] = _output(settings, dataset)
        if dataset.is_lenient:
            for split in ("train", "test"):
                limit = raised_limit(split, settings, dataset)
                is_less = dataset.used(split, limit) < dataset.used(split, None)
                changes[f"{split}_images"] = limit if is_less else None
        return settings.model_copy(update=changes)

    source, plan = plan.dataset, plan.map_settings(adapt)
    if dataset.is_own:
        # Nothing of the suite's own source is true of these images.
        source = source.model_copy(update={"source": "folder", "path": None, "fallback": None})
    if dataset.is_own or not dataset.is_real:
        plan = replace(plan, cells=tuple(replace(cell, published=None) for cell in plan.cells))
    return replace(plan, dataset=source)


def channels(plan: Plan, dataset: DatasetInfo) -> int:
    """Return the channels to decode: three where a benchmark needs colour, else the dataset's."""
    return 3 if any(map(needs_colour, plan.cells)) else dataset.channels


def needs_colour(cell: PlannedCell) -> bool:
    """Return whether a cell cannot use grayscale images."""
    settings = cell.settings
    return isinstance(settings, TransferSettings) or settings.preprocessing in _COLOUR_ONLY


def changes_output(cell: PlannedCell, dataset: DatasetInfo) -> bool:
    """Return whether a cell's output differs from the one that its suite states."""
    settings = cell.settings
    return isinstance(settings, TrainingSettings) and settings.output not in (
        "auto",
        _output(settings, dataset),
    )


def raised_limit(split: Split, settings: StrategySettings, dataset: DatasetInfo) -> int | None:
    """Return how many images of a split a cell may take in all; None for all there are.

    Where fewer than the suite asks for are enough, every class gets one in each split.
    """
    limit = settings.train_images if split == "train" else settings.test_images
    if limit is None or not dataset.is_lenient:
        return limit
    has_validation = isinstance(settings, TrainingSettings) and settings.validation > 0
    least = 2 if split == "train" and has_validation else 1
    return max(limit, least * len(dataset.classes))


def _output(settings: TrainingSettings, dataset: DatasetInfo) -> Literal["softmax", "sigmoid"]:
    if dataset.is_own and len(dataset.classes) != 2:
        return "softmax"
    return settings.output_for(len(dataset.classes))


# --- Dataset and weights -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """Dataset and weights of a plan; each part is decoded or hashed once.

    The plan is adapted: every setting that depends on data and weights is concrete. Weights are
    known by the settings that name them.
    """

    plan: Plan
    listing: Listing
    dataset: DatasetInfo
    weights: Mapping[tuple[str, ...], Pretrained]
    places: SearchPaths
    progress: Progress | None = None
    _prepared: dict[Subset, Prepared] = field(default_factory=dict)
    _files: dict[tuple[Subset, str], dict[str, Any]] = field(default_factory=dict)

    def decode_images(self) -> None:
        """Decode all images that the plan's cells read, and fit preprocessing to them.

        Raises:
            DatasetError: Images are missing, unreadable, or not in files that backends can load.
        """
        check_images(self.plan, self.listing)
        for cell in self.plan.cells:
            # So that no worker fits what all of them read.
            fitted(cell.settings.preprocessing, self.prepared(cell))
            self.files(cell)

    def prepared(self, cell: PlannedCell) -> Prepared:
        """Return the images that a cell reads."""
        part = Subset.of(cell)
        if part not in self._prepared:
            self._prepared[part] = prepare_images(
                self.listing.first(train=part.train_images, test=part.test_images),
                size=part.image_size,
                validation=part.validation,
                seed=self.plan.suite.seed,
                cache_dir=self.places.cache,
                workers=usable_cores(),
                on_bad_image=self.plan.dataset.on_bad_image,
                on_leak=self.plan.dataset.on_leak,
                progress=self.progress,
            )
        return self._prepared[part]

    def files(self, cell: PlannedCell) -> Mapping[str, Any] | None:
        """Return the ``FileSource`` that a cell's backend loads, as JSON; None for prepared images.

        Only the native track has a folder of classes.
        """
        if cell.settings.input != "files":
            return None
        part = Subset.of(cell)
        if (part, cell.track) not in self._files:
            paths = image_files(self.listing.first(train=part.train_images, test=part.test_images))
            require_alike(paths, self.prepared(cell))
            folder = None
            if cell.track == "native":
                folder = str(class_folder(paths, self.prepared(cell), cache_dir=self.places.cache))
            self._files[part, cell.track] = {"paths": [*map(str, paths)], "folder": folder}
        return self._files[part, cell.track]

    def pretrained(self, cell: PlannedCell) -> Pretrained | None:
        """Return the weights that a cell's backbone starts from; None without a backbone."""
        settings = cell.settings
        if not isinstance(settings, TransferSettings):
            return None
        return self.weights[_weights_key(settings)]

    def describe_dataset(self) -> dict[str, Any]:
        """Return the dataset's description for the results, JSON-able.

        Facts that differ between subsets are those of the largest.
        """
        largest = max(self._prepared.values(), key=lambda prepared: len(prepared.labels))
        leaks = [[*map(self._relative, names)] for names in largest.leaks[:_NAMED]]
        return {
            "name": self.dataset.title,
            "origin": self.listing.origin,
            "is_own": self.listing.is_own,
            "notes": list(self.listing.notes),
            "leaks": {"count": len(largest.leaks), "first": leaks},
            "mended": [
                part.rebuilt_because for part in self._prepared.values() if part.rebuilt_because
            ],
            "converted": {kind: len(ids) for kind, ids in largest.kinds.items()},
            "majority_share": largest.majority_share,
            "is_real": self.listing.is_real,
            "classes": list(self.listing.classes),
            "channels": self.listing.channels,
            "slices": [
                {
                    "image_size": part.image_size,
                    **{name: len(ids) for name, ids in prepared.splits.items()},
                    "skipped": [*map(self._with_kind, prepared.skipped)],
                    "majority_share": prepared.majority_share,
                    "digest": prepared.digest,
                }
                for part, prepared in self._prepared.items()
            ],
            "digest": "-".join(sorted({p.digest[:12] for p in self._prepared.values()})),
        }

    def _relative(self, name: str) -> str:
        """Return an image's name from the data's folder on, as others may read it."""
        place = self.listing.place
        return name.removeprefix(f"{place.parent}{os.sep}") if place else name

    def _with_kind(self, name: str) -> str:
        """Return the name of an unreadable image, with its file type where that is known."""
        kind = nature(Path(name))
        return self._relative(name) + (f" ({kind})" if kind else "")

    def describe_weights(self) -> dict[str, Any] | None:
        """Return the description of the backbones' weights; None where no cell has a backbone.

        They count as random when pretrained ones were wanted but unavailable, or none are wanted.
        """
        # Settings may name the same weights in several ways.
        weights = {(w.backbone, w.digest, w.reason): w for w in self.weights.values()}.values()
        if not weights:
            return None
        learnt = [w for w in weights if not w.is_random]
        missing = list(dict.fromkeys(w.reason for w in weights if w.reason))
        return {
            "origin": ", ".join(
                f"{w.backbone} from {w.origin or w.path.name}" for w in learnt if w.path
            ),
            "is_random": bool(missing) or not learnt,
            "reason": "; ".join(missing) or "as the suite asks",
            "digest": "-".join(w.digest[:12] for w in weights),
        }


def find_inputs(plan: Plan, *, places: SearchPaths, progress: Progress | None = None) -> RunInputs:
    """Return the inputs of a plan, with the plan adapted to them; nothing is decoded yet.

    Raises:
        DatasetError: There is no dataset, and no fallback.
        WeightsError: Weights are missing, with no fallback, or damaged.
    """
    listing = find_listing(plan, places=places, fallback=plan.dataset.fallback, progress=progress)
    dataset = DatasetInfo.of(listing)
    weights: dict[tuple[str, ...], Pretrained] = {}

    def find_once(settings: TransferSettings) -> Pretrained:
        key, fallback = _weights_key(settings), plan.suite.weights_fallback
        if key not in weights:
            weights[key] = find_weights(plan, settings, places=places, fallback=fallback)
            require_arrays(weights[key])
        return weights[key]

    def resolve(settings: StrategySettings) -> StrategySettings:
        if not isinstance(settings, TransferSettings):
            return settings
        if settings.preprocessing == "pretrained":
            preprocessing = find_once(settings).preprocessing
            settings = settings.model_copy(update={"preprocessing": preprocessing})
        # Settings with a preprocessing of their own admit fewer weights, and so have another key.
        find_once(settings)
        return settings

    return RunInputs(
        plan=adapt_plan(plan, dataset).map_settings(resolve),
        listing=replace(listing, channels=channels(plan, dataset)),
        dataset=dataset,
        weights=weights,
        places=places,
        progress=progress,
    )


def _weights_key(settings: TransferSettings) -> tuple[str, ...]:
    return settings.backbone, settings.weights, *settings.releases


def check_images(plan: Plan, listing: Listing) -> None:
    """Raise a DatasetError where an adapted plan asks for images that its dataset lacks.

    Too few, or in no files that a framework's loader reads; none is decoded.
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
    """Return the weights that a backbone starts from; raise a WeightsError without a fallback."""
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


def has_real_weights(plan: Plan, *, places: SearchPaths) -> bool:
    """Return whether all pretrained weights of a plan are available; may download them."""
    try:
        for cell in plan.cells:
            if isinstance(cell.settings, TransferSettings):
                find_weights(plan, cell.settings, places=places, fallback=None)
    except WeightsError:
        return False
    return True


def find_listing(
    plan: Plan, *, places: SearchPaths, fallback: str | None, progress: Progress | None = None
) -> Listing:
    """Return the plan's dataset, large enough for all cells, its fallback, or raise a DatasetError.

    A folder named on the command line that holds other pictures than the suite's holds the user's.
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
        train_images=_largest([part.train_images for part in parts]),
        test_images=_largest([part.test_images for part in parts]),
        seed=plan.suite.seed,
        fallback=fallback,
        progress=progress,
        fetcher=places.fetcher,
        is_lenient=data is not None or plan.takes_fewer,
    )


def _largest(counts: list[int | None]) -> int | None:
    """Return the largest count; None, which means all, is larger than any."""
    known = [count for count in counts if count is not None]
    return max(known) if known and len(known) == len(counts) else None


def verify_inputs(
    plan: Plan, *, places: SearchPaths, observe: Observer
) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each download, size of the images and set of weights, with a line for each damage.

    Nothing is downloaded; raises a BenchError where dataset or weights are unavailable.
    """
    folder = places.fetcher.folder if places.fetcher else None
    downloads = sorted(folder.iterdir()) if folder and folder.is_dir() else []
    for item in (item for item in downloads if not item.name.startswith(".")):
        manifest = read_manifest(item)
        count = len(manifest.files) if manifest else 0
        remedy = f"remove {item} and run: benchharness data prepare SUITE"
        yield (
            f"download {item.name}: {count:,} file{'' if count == 1 else 's'} in {item}",
            [f"{line}; {remedy}" for line in damages(item)],
        )
    inputs = find_inputs(plan, places=places.offline)
    for part in dict.fromkeys(replace(Subset.of(c), validation=0.0) for c in inputs.plan.cells):
        checked = check_image_files(
            inputs.listing.first(train=part.train_images, test=part.test_images),
            size=part.image_size,
            cache_dir=places.cache,
            workers=usable_cores(),
            progress=lambda done, count: observe(Preparing(done=done, count=count)),
        )
        where = f"as in {checked.entry}" if checked.entry else "not prepared yet"
        what = f"images of {part.image_size} px: {checked.images:,} decoded, {where}"
        yield what, checked.damages
    for weights in dict.fromkeys(w for w in map(inputs.pretrained, inputs.plan.cells) if w):
        if weights.path is None:
            continue
        backbone, found = BACKBONES[weights.backbone], list[str]()
        shape = 2 * backbone.smallest_image, 2 * backbone.smallest_image, 3
        try:
            read_pretrained(weights, Network(input_shape=shape, layers=backbone.layers))
        except BenchError as error:
            found.append(str(error))
        yield f"weights of {weights.backbone}, release {weights.release}: {weights.path}", found

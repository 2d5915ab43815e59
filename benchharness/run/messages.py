"""Messages about plan, data and weights, shown before a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchharness.data.info import DatasetInfo, Split
from benchharness.measure.sanity import is_unbalanced
from benchharness.model.image_files import describe_conversions
from benchharness.run.inputs import changes_output, channels, needs_colour, raised_limit
from benchharness.run.interpreters import BackendInterpreter
from benchharness.run.options import RunOptions
from benchharness.suite.builtin import IMAGES
from benchharness.suite.plan import Plan, PlannedCell

_NAMED = 8
_SPLITS: Mapping[Split, str] = {"train": "for training", "test": "for the test"}


def title(plan: Plan, dataset: DatasetInfo) -> str:
    """Return the title of the results."""
    if dataset.is_own:
        return f"{dataset.title}: {len(dataset.classes)} classes, with suite {plan.suite.name}"
    return plan.suite.title


def plan_messages(plan: Plan, options: RunOptions, *, device: str) -> Iterator[str]:
    """Yield the choices made for the user, who may have named no suite or no profile."""
    suite, profile = plan.suite, plan.profile
    yield f"suite {suite.name} on {device}"
    if options.suite == IMAGES:
        yield (
            "using the built-in suite; "
            "for a copy to edit: benchharness run --write-suite my_suite.toml"
        )
    if profile is not None:
        how = "chosen for this machine" if options.profile is None else "as requested"
        about = suite.profiles[profile].description
        yield f"profile {profile} ({how}){f': {about}' if about else ''}"
    elif suite.profiles:
        names = ", ".join(suite.profiles)
        yield f"no profile: the suite has none for this machine (available: {names})"
    limits: dict[tuple[int, int], dict[str, None]] = {}
    for cell in plan.cells:
        if cell.max_trials is not None:
            limits.setdefault((cell.trials, cell.max_trials), {})[cell.benchmark] = None
    is_every = len(limits) == 1 and all(cell.max_trials is not None for cell in plan.cells)
    minutes = f", at most {plan.max_minutes:g} minutes" if plan.max_minutes else ""
    for (fewest, most), benchmarks in limits.items():
        where = "" if is_every else f" of {', '.join(benchmarks)}"
        yield (
            f"{fewest} to {most} trials of each cell{where}, until the backends of a benchmark "
            f"differ or are equal with confidence{minutes}"
        )
    if plan.added:
        yield f"also running {', '.join(plan.added)}, because other benchmarks use its trained head"
    if plan.fileless:
        names = ", ".join(plan.fileless)
        yield f"native track on prepared images, as there are no image files: {names}"
    if plan.left_out:
        yield f"skipped (no backend selected): {', '.join(plan.left_out)}"


def interpreter_messages(interpreters: Mapping[str, BackendInterpreter]) -> Iterator[str]:
    """Yield the interpreter of each backend that has its own."""
    for backend, resolved in interpreters.items():
        interpreter = resolved.interpreter
        purpose = f" for {', '.join(resolved.requirements)}" if resolved.requirements else ""
        yield (
            f"{backend} runs in a separate environment{purpose}: python {interpreter.python}, "
            f"{len(interpreter.packages)} packages ({interpreter.digest})"
        )


def adaptation_messages(plan: Plan, dataset: DatasetInfo) -> Iterator[str]:
    """Yield how a plan, as it was written, is adapted to a dataset."""
    if dataset.is_own:
        yield f"{dataset.title}: your pictures, {_classes(dataset)}"
        source = plan.dataset.source
        if source not in ("folder", "flat"):
            has_figures = any(cell.published for cell in plan.cells)
            figures = "; figures published for it are left out" if has_figures else ""
            yield f"they replace {source}, for which the suite was written{figures}"
    if dataset.is_lenient and not plan.takes_fewer:
        yield from _changed_limits(plan, dataset)
    if names := _benchmarks(cell for cell in plan.cells if changes_output(cell, dataset)):
        yield f"output softmax instead of sigmoid, for {len(dataset.classes)} classes: {names}"
    if dataset.channels < channels(plan, dataset):
        names = _benchmarks(filter(needs_colour, plan.cells))
        yield f"grayscale images are converted to RGB for {names}"


def source_messages(dataset: DatasetInfo) -> Iterator[str]:
    """Yield where the images are, and how their folder was read."""
    yield f"data: {dataset.description}"
    yield from dataset.notes


def dataset_messages(dataset: Mapping[str, Any]) -> Iterator[str]:
    """Yield what decoding revealed of a dataset, described as in run.json."""
    skipped: list[str] = max((part["skipped"] for part in dataset["slices"]), key=len, default=[])
    if skipped:
        named = ", ".join(skipped[:_NAMED])
        more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        yield f"skipped {len(skipped)} unreadable images: {named}{more}"
    yield from (f"WARNING: rebuilt in the cache: {damage}" for damage in dataset["mended"])
    if leaks := dataset["leaks"]["count"]:
        test, train = dataset["leaks"]["first"][0]
        images = "image also occurs" if leaks == 1 else "images also occur"
        yield (
            f"WARNING: {leaks:,} test {images} in the training set (data leakage): "
            f'{test} is {train}; on_leak = "error" in [dataset] refuses them'
        )
    if dataset["converted"]:
        yield f"converted while decoding: {describe_conversions(dataset['converted'])}"
    if is_unbalanced(dataset["majority_share"], classes=len(dataset["classes"])):
        yield (
            "unbalanced classes: always guessing the largest is right on "
            f"{dataset['majority_share']:.2f} of the test images"
        )


def weights_messages(weights: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield where the backbones' weights, described as in run.json, came from."""
    if weights and weights["is_random"]:
        yield f"weights: RANDOM, not pretrained: {weights['reason']}"
    elif weights:
        yield f"weights: {weights['origin']}"


def _changed_limits(plan: Plan, dataset: DatasetInfo) -> Iterator[str]:
    fewer, more = [], []
    for split, words in _SPLITS.items():
        limits = {
            limit: raised_limit(split, cell.settings, dataset)
            for cell in plan.cells
            if (limit := getattr(cell.settings, f"{split}_images")) is not None
        }
        if not limits:
            continue
        least, most = min(limits), max(limits)
        if (available := dataset.used(split, limits[most])) < most:
            fewer.append(f"{available:,} of {most:,} {words}")
        elif (raised := limits[least] or 0) > least:
            more.append(f"{raised:,} instead of {least:,} {words}")
    if fewer:
        yield f"fewer images than the suite asks for: {', '.join(fewer)}"
    if more:
        yield f"more images than the suite asks for, as every class needs some: {', '.join(more)}"


def _classes(dataset: DatasetInfo) -> str:
    count = len(dataset.classes)
    if count > _NAMED:
        return f"{count} classes of {min(dataset.sizes):,} to {max(dataset.sizes):,}"
    named = (
        f"{name} ({size:,})" for name, size in zip(dataset.classes, dataset.sizes, strict=True)
    )
    return f"{count} classes: {', '.join(named)}"


def _benchmarks(cells: Iterable[PlannedCell]) -> str:
    return ", ".join(dict.fromkeys(cell.benchmark for cell in cells))

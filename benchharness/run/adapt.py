"""Adaptation of a plan to its dataset: outputs, channels and numbers of images."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from benchharness.data.info import DatasetInfo, Split
from benchharness.suite.plan import Cell, Plan
from benchharness.suite.settings import StrategySettings, TrainingSettings, TransferSettings

# Preprocessing with the constants of backbones that were trained on colour images.
_COLOUR_ONLY = frozenset({"caffe_bgr", "imagenet_rgb"})


def adapt_plan(plan: Plan, dataset: DatasetInfo) -> Plan:
    """Return the plan with outputs and numbers of images as the dataset has them.

    Settings that do not suit the user's own images are adapted; figures published for other
    images are left out.
    """
    cells = tuple(
        replace(
            cell,
            settings=_adapted(cell, dataset),
            published=cell.published if dataset.is_real and not dataset.is_own else None,
        )
        for cell in plan.cells
    )
    source = plan.dataset
    if dataset.is_own:
        # Nothing of the suite's own source is true of these images.
        source = source.model_copy(update={"source": "folder", "path": None, "fallback": None})
    return replace(plan, cells=cells, dataset=source)


def channels(plan: Plan, dataset: DatasetInfo) -> int:
    """Return the channels to decode: three where a benchmark needs colour, else the dataset's."""
    return 3 if any(map(needs_colour, plan.cells)) else dataset.channels


def needs_colour(cell: Cell) -> bool:
    """Return whether a cell cannot use grayscale images."""
    settings = cell.settings
    return isinstance(settings, TransferSettings) or settings.preprocessing in _COLOUR_ONLY


def changes_output(cell: Cell, dataset: DatasetInfo) -> bool:
    """Return whether a cell's output differs from the one that its suite states."""
    settings = cell.settings
    return isinstance(settings, TrainingSettings) and settings.output not in (
        "auto",
        _output(settings, dataset),
    )


def raised_limit(split: Split, cell: Cell, dataset: DatasetInfo) -> int | None:
    """Return how many images of a split a cell may take in all; None for all there are.

    Where fewer than the suite asks for are enough, every class gets one in each split.
    """
    settings = cell.settings
    limit = settings.train_images if split == "train" else settings.test_images
    if limit is None or not dataset.is_lenient:
        return limit
    has_validation = isinstance(settings, TrainingSettings) and settings.validation > 0
    least = 2 if split == "train" and has_validation else 1
    return max(limit, least * len(dataset.classes))


def _adapted(cell: Cell, dataset: DatasetInfo) -> StrategySettings:
    changes: dict[str, object] = {}
    if isinstance(cell.settings, TrainingSettings):
        changes["output"] = _output(cell.settings, dataset)
    if dataset.is_lenient:
        changes["train_images"] = _effective_limit("train", cell, dataset)
        changes["test_images"] = _effective_limit("test", cell, dataset)
    return cell.settings.model_copy(update=changes)


def _output(settings: TrainingSettings, dataset: DatasetInfo) -> Literal["softmax", "sigmoid"]:
    if dataset.is_own and len(dataset.classes) != 2:
        return "softmax"
    return settings.output_for(len(dataset.classes))


def _effective_limit(split: Split, cell: Cell, dataset: DatasetInfo) -> int | None:
    """Return the limit of a split if it leaves any image out, else None."""
    limit = raised_limit(split, cell, dataset)
    return limit if dataset.used(split, limit) < dataset.used(split, None) else None

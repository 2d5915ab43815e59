"""A plan, fitted to the dataset at hand: what only the images decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from benchharness.run.dataset_info import DatasetInfo, Split
from benchharness.suite.plan import Cell, Plan
from benchharness.suite.settings import StrategySettings, TrainingSettings, TransferSettings

# The weights of backbones have learnt from pictures in colour, and so have these constants.
_COLOUR_ONLY = frozenset({"caffe_bgr", "imagenet_rgb"})


def fit(plan: Plan, facts: DatasetInfo) -> Plan:
    """Return the plan with outputs and numbers of images as the dataset has them.

    Settings that the user's own images do not suit are adapted to them; figures published of
    other images are left out.
    """
    cells = tuple(
        replace(
            cell,
            settings=_fitted(cell, facts),
            published=cell.published if facts.is_real and not facts.is_own else None,
        )
        for cell in plan.cells
    )
    dataset = plan.dataset
    if facts.is_own:
        # Nothing of the suite's own source is true of these images.
        dataset = dataset.model_copy(update={"source": "folder", "path": None, "fallback": None})
    return replace(plan, cells=cells, dataset=dataset)


def channels(plan: Plan, facts: DatasetInfo) -> int:
    """Return the channels to decode: three where a benchmark needs colour, else the dataset's."""
    return 3 if any(map(needs_colour, plan.cells)) else facts.channels


def needs_colour(cell: Cell) -> bool:
    """Return whether a cell cannot do with grey pictures."""
    settings = cell.settings
    return isinstance(settings, TransferSettings) or settings.preprocessing in _COLOUR_ONLY


def changes_output(cell: Cell, facts: DatasetInfo) -> bool:
    """Return whether a cell's output is another than its suite states."""
    settings = cell.settings
    return isinstance(settings, TrainingSettings) and settings.output not in (
        "auto",
        _output(settings, facts),
    )


def raised_limit(split: Split, cell: Cell, facts: DatasetInfo) -> int | None:
    """Return how many images of a split a cell may take in all; None for all there are.

    Where fewer will do, every class is to have one in each split, whatever the suite says.
    """
    settings = cell.settings
    limit = settings.train_images if split == "train" else settings.test_images
    if limit is None or not facts.is_lenient:
        return limit
    has_validation = isinstance(settings, TrainingSettings) and settings.validation > 0
    least = 2 if split == "train" and has_validation else 1
    return max(limit, least * len(facts.classes))


def _fitted(cell: Cell, facts: DatasetInfo) -> StrategySettings:
    changes: dict[str, object] = {}
    if isinstance(cell.settings, TrainingSettings):
        changes["output"] = _output(cell.settings, facts)
    if facts.is_lenient:
        changes["train_images"] = _binding("train", cell, facts)
        changes["test_images"] = _binding("test", cell, facts)
    return cell.settings.model_copy(update=changes)


def _output(settings: TrainingSettings, facts: DatasetInfo) -> Literal["softmax", "sigmoid"]:
    if facts.is_own and len(facts.classes) != 2:
        return "softmax"
    return settings.output_for(len(facts.classes))


def _binding(split: Split, cell: Cell, facts: DatasetInfo) -> int | None:
    """Return the limit of a split if it leaves any image out, else None."""
    limit = raised_limit(split, cell, facts)
    return limit if facts.used(split, limit) < facts.used(split, None) else None

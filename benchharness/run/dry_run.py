"""Dry run: the steps, images and networks of each trial; nothing is decoded or downloaded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from benchharness.data.info import DatasetInfo
from benchharness.download.registry import weights_home
from benchharness.errors import AbsentError, Problem, SuiteError, WeightsError
from benchharness.run.inputs import (
    SearchPaths,
    Subset,
    adapt_plan,
    channels,
    check_images,
    find_listing,
    find_weights,
)
from benchharness.suite.plan import Plan, Trial
from benchharness.suite.settings import TransferSettings
from benchharness.suite.workload import Workload, build_workload
from benchharness.weights.pretrained import require_arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPreview:
    """One trial, before it runs.

    Its steps are optimizer updates, or batches fed, over all epochs; its training and validation
    images are those of an epoch.
    """

    trial: Trial
    steps: int
    train_images: int
    validation_images: int
    test_images: int
    workload: Workload
    channels: int

    @property
    def images(self) -> int:
        """Images of all splits."""
        return self.train_images + self.validation_images + self.test_images


def dataset_info(plan: Plan, *, places: SearchPaths) -> DatasetInfo:
    """Return the plan's dataset in numbers, undrawn and not downloaded; a DatasetError for none."""
    dataset, fetcher = plan.dataset, places.fetcher
    if dataset.source == "drawn" and places.data is None:
        return DatasetInfo.of_drawn()
    try:
        listing = find_listing(plan, places=places.offline, fallback=None)
    except AbsentError:
        is_named = places.data or plan.dataset_path
        if not is_named and fetcher and fetcher.may_fetch(dataset.source):
            return DatasetInfo.of_published(dataset.source, fetcher.homes[dataset.source])
        if dataset.fallback is None or is_named:
            raise
        return DatasetInfo.of_drawn()
    info = DatasetInfo.of(listing)
    check_images(adapt_plan(plan, info), listing)
    return info


def check_weights(plan: Plan, *, places: SearchPaths) -> None:
    """Raise a WeightsError for weights that are damaged, or neither here nor downloadable."""
    fetcher = places.fetcher
    for settings in (cell.settings for cell in plan.cells):
        if not isinstance(settings, TransferSettings):
            continue
        try:
            weights = find_weights(
                plan, settings, places=places.offline, fallback=plan.suite.weights_fallback
            )
        except WeightsError:
            homes = (weights_home(settings.backbone, name) for name in settings.releases)
            is_named = settings.backbone in plan.suite.weights or places.environment.get(
                "BENCHHARNESS_WEIGHTS"
            )
            if is_named or not fetcher or not any(map(fetcher.may_fetch, homes)):
                raise
        else:
            require_arrays(weights)


def preview_trials(plan: Plan, dataset: DatasetInfo) -> Iterator[TrialPreview]:
    """Yield the preview of each trial, in running order; raise errors of ``build_workloads``."""
    plan, depth = adapt_plan(plan, dataset), channels(plan, dataset)
    # One for each cell: there may be thousands of trials.
    workloads = build_workloads(plan, channels=depth, classes=len(dataset.classes))
    for trial in plan.trials():
        settings, part = trial.cell.settings, Subset.of(trial.cell)
        images = dataset.used("train", part.train_images)
        validation = round(images * part.validation)
        workload = workloads[id(trial.cell)]
        yield TrialPreview(
            trial=trial,
            steps=settings.epochs * math.ceil((images - validation) / settings.batch_size),
            train_images=images - validation,
            validation_images=validation,
            test_images=dataset.used("test", part.test_images),
            workload=workload,
            channels=depth,
        )


def build_workloads(plan: Plan, *, channels: int, classes: int) -> dict[int, Workload]:
    """Return the networks by ``id(cell)``; raise a SuiteError that names every impossible cell."""
    workloads: dict[int, Workload] = {}
    problems: dict[Problem, None] = {}
    for cell in plan.cells:
        try:
            workloads[id(cell)] = build_workload(cell.settings, channels=channels, classes=classes)
        except ValueError as error:
            problem = Problem(
                where=f'benchmark "{cell.benchmark}"',
                expected="settings that suit the dataset",
                found=str(error),
            )
            problems[problem] = None
    if problems:
        raise SuiteError(str(plan.suite.path), list(problems))
    return workloads

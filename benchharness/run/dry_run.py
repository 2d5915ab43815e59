"""What a run would do, counted without decoding an image or importing a framework."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchharness.download.registry import weights_home
from benchharness.errors import AbsentError, Problem, SuiteError, WeightsError
from benchharness.run.adapt import channels, fit
from benchharness.run.dataset_info import DatasetInfo
from benchharness.run.inputs import SearchPaths, Subset, check_images, find_listing, find_weights
from benchharness.run.workload import Workload, build_workload
from benchharness.suite.plan import Cell, Plan, Trial
from benchharness.suite.settings import TransferSettings
from benchharness.weights.pretrained import require_arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPreview:
    """One trial, before it runs.

    Attributes:
        steps: Optimizer updates, or batches fed, over all epochs.
        train_images: Seen per epoch.
        validation_images: Scored after each epoch.
        test_images: Scored once, at the end.
        workload: The networks.
        channels: Of the images.
    """

    trial: Trial
    steps: int
    train_images: int
    validation_images: int
    test_images: int
    params: int
    trainable_params: int
    workload: Workload
    channels: int

    @property
    def images(self) -> int:
        """Of all splits."""
        return self.train_images + self.validation_images + self.test_images


def dataset_info(plan: Plan, *, places: SearchPaths) -> DatasetInfo:
    """Return the facts of the plan's dataset; nothing is drawn or fetched for it.

    Raises:
        DatasetError: There is none, and no fallback.
    """
    dataset, fetcher = plan.dataset, places.fetcher
    if dataset.source == "drawn" and places.data is None:
        return DatasetInfo.of_drawn()
    resting = replace(places, fetcher=fetcher.offline() if fetcher else None)
    try:
        listing = find_listing(plan, places=resting, fallback=None)
    except AbsentError:
        is_named = places.data or plan.dataset_path
        if not is_named and fetcher and fetcher.may_fetch(dataset.source):
            return DatasetInfo.of_published(dataset.source, fetcher.homes[dataset.source])
        if dataset.fallback is None or is_named:
            raise
        return DatasetInfo.of_drawn()
    facts = DatasetInfo.of(listing)
    check_images(fit(plan, facts), listing)
    return facts


def check_weights(plan: Plan, *, places: SearchPaths) -> None:
    """Refuse a plan whose pretrained weights are damaged, or can neither be found nor fetched.

    Raises:
        WeightsError: As a run would.
    """
    fetcher = places.fetcher
    resting = replace(places, fetcher=fetcher.offline() if fetcher else None)
    for settings in (cell.settings for cell in plan.cells):
        if not isinstance(settings, TransferSettings):
            continue
        try:
            found = find_weights(
                plan, settings, places=resting, fallback=plan.suite.weights_fallback
            )
        except WeightsError:
            homes = (weights_home(settings.backbone, name) for name in settings.releases)
            is_named = settings.backbone in plan.suite.weights or places.environment.get(
                "BENCHHARNESS_WEIGHTS"
            )
            if is_named or not fetcher or not any(map(fetcher.may_fetch, homes)):
                raise
        else:
            require_arrays(found)


def forecast(plan: Plan, facts: DatasetInfo) -> Iterator[TrialPreview]:
    """Yield what each trial would do, in running order.

    Raises:
        SuiteError: A cell's settings do not suit the dataset.
    """
    plan, depth = fit(plan, facts), channels(plan, facts)
    # The trials of a cell do the same, and there may be thousands.
    workloads = {
        id(cell): _workload(cell, plan, channels=depth, classes=len(facts.classes))
        for cell in plan.cells
    }
    for trial in plan.trials():
        settings, part = trial.cell.settings, Subset.of(trial.cell)
        images = facts.used("train", part.train_images)
        validation = round(images * part.validation)
        workload = workloads[id(trial.cell)]
        yield TrialPreview(
            trial=trial,
            steps=settings.epochs * math.ceil((images - validation) / settings.batch_size),
            train_images=images - validation,
            validation_images=validation,
            test_images=facts.used("test", part.test_images),
            params=workload.params,
            trainable_params=workload.trainable_params,
            workload=workload,
            channels=depth,
        )


def check(plan: Plan, *, channels: int, classes: int) -> None:
    """Refuse a plan whose networks cannot be built on its dataset, all problems at once.

    Raises:
        SuiteError: A cell's settings do not suit the dataset.
    """
    problems: list[Problem] = []
    for cell in plan.cells:
        try:
            _workload(cell, plan, channels=channels, classes=classes)
        except SuiteError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise SuiteError(str(plan.suite.path), problems)


def _workload(cell: Cell, plan: Plan, *, channels: int, classes: int) -> Workload:
    try:
        return build_workload(cell.settings, channels=channels, classes=classes)
    except ValueError as error:
        problem = Problem(
            where=f'benchmark "{cell.benchmark}"',
            expected="settings that suit the dataset",
            found=str(error),
        )
        raise SuiteError(str(plan.suite.path), [problem]) from error

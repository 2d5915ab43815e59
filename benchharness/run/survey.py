"""What a run would do, counted without decoding an image or importing a framework."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from benchharness.data import pictures
from benchharness.errors import DatasetError, Problem, SuiteError
from benchharness.run.materials import Places, Slice, find_listing
from benchharness.run.workload import Workload, build_workload
from benchharness.suite.plan import Cell, Plan, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What counting needs to know of a dataset.

    Attributes:
        train: Training images there are, validation included.
        test: Test images there are.
    """

    origin: str
    classes: int
    channels: int
    train: int
    test: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One trial, before it runs.

    Attributes:
        steps: Optimizer updates, or batches fed, over all epochs.
        train_images: Seen per epoch.
        validation_images: Scored after each epoch.
        test_images: Scored once, at the end.
    """

    trial: Trial
    steps: int
    train_images: int
    validation_images: int
    test_images: int
    params: int
    trainable_params: int


def survey_dataset(plan: Plan, *, places: Places) -> DatasetFacts:
    """Return the facts of the plan's dataset; nothing is drawn for it.

    Raises:
        DatasetError: There is none, and no fallback.
    """
    dataset = plan.dataset
    drawn = DatasetFacts(
        origin="drawn pictures of cats and dogs",
        classes=2,
        channels=3,
        train=pictures.TRAIN,
        test=pictures.TEST,
    )
    if dataset.source == "drawn":
        return drawn
    try:
        listing = find_listing(plan, places=places, fallback=None)
    except DatasetError:
        if dataset.fallback is None or places.data or plan.dataset_path:
            raise
        return drawn
    return DatasetFacts(
        origin=listing.origin,
        classes=len(listing.classes),
        channels=listing.channels,
        train=len(listing.train),
        test=len(listing.test),
    )


def forecast(plan: Plan, facts: DatasetFacts) -> Iterator[Forecast]:
    """Yield what each trial would do, in running order.

    Raises:
        SuiteError: A cell's settings do not suit the dataset.
    """
    for trial in plan.trials():
        settings, part = trial.cell.settings, Slice.of(trial.cell)
        images = part.train_images or facts.train
        validation = round(images * part.validation)
        workload = _workload(trial.cell, plan, facts)
        yield Forecast(
            trial=trial,
            steps=settings.epochs * math.ceil((images - validation) / settings.batch_size),
            train_images=images - validation,
            validation_images=validation,
            test_images=part.test_images or facts.test,
            params=workload.params,
            trainable_params=workload.trainable_params,
        )


def check(plan: Plan, *, channels: int, classes: int) -> None:
    """Refuse a plan whose networks cannot be built on its dataset, all problems at once.

    Raises:
        SuiteError: A cell's settings do not suit the dataset.
    """
    facts = DatasetFacts(origin="", classes=classes, channels=channels, train=0, test=0)
    problems: list[Problem] = []
    for cell in plan.cells:
        try:
            _workload(cell, plan, facts)
        except SuiteError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise SuiteError(str(plan.suite.path), problems)


def _workload(cell: Cell, plan: Plan, facts: DatasetFacts) -> Workload:
    try:
        return build_workload(cell.settings, channels=facts.channels, classes=facts.classes)
    except ValueError as error:
        problem = Problem(
            where=f'benchmark "{cell.benchmark}"',
            expected="settings that suit the dataset",
            found=str(error),
        )
        raise SuiteError(str(plan.suite.path), [problem]) from error

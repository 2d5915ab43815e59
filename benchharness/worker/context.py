"""What a trial works with once everything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.data.augmentation import Augmentation, AugmentationPlan
from benchharness.data.fitted import fitted
from benchharness.data.plan import BatchSequence, EpochSequence, epoch_order
from benchharness.data.prepared import Prepared
from benchharness.errors import UnsupportedError
from benchharness.measure.clock import PhaseClock
from benchharness.measure.cpu_time import CpuTimer
from benchharness.model.network import Network
from benchharness.model.task import (
    AugmentationParams,
    Execution,
    FileSource,
    NativeSettings,
    Optimizer,
    Preprocessing,
    Task,
)
from benchharness.model.work import Backend, Batches, Work
from benchharness.suite.settings import StrategySettings, TrainingSettings, settings_from_dict
from benchharness.suite.workload import Workload, build_workload
from benchharness.worker.request import TrialRequest

Emit = Callable[[Mapping[str, Any]], None]
Metrics = dict[str, float | int | bool | str | None]
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialContext:
    """One trial, loaded.

    Attributes:
        emit: Takes each event for the runner, JSON-able.
        metrics: Columns of the result, filled as they become known.
        processor: Counts while work is timed.
    """

    request: TrialRequest
    settings: StrategySettings
    backend: Backend
    prepared: Prepared
    preprocessing: Preprocessing
    workload: Workload
    clock: PhaseClock
    emit: Emit
    metrics: Metrics
    processor: CpuTimer = field(default_factory=CpuTimer)

    def image_task(self, network: Network, *, weights: Weights, trainable: tuple[str, ...]) -> Task:
        """Return the work of a network that sees images."""
        files = self._files()
        return self._task(
            network,
            weights=weights,
            trainable=trainable,
            preprocessing=self.preprocessing,
            # A loader of folders varies the images by itself.
            is_augmented=not self.settings.augmentation.is_identity
            and not (files and files.folder),
            files=files,
        )

    def feature_task(
        self, network: Network, *, weights: Weights, trainable: tuple[str, ...]
    ) -> Task:
        """Return the work of a network that sees stored features."""
        return self._task(
            network,
            weights=weights,
            trainable=trainable,
            preprocessing=None,
            is_augmented=False,
            files=None,
        )

    def resident(self, task: Task, inputs: NDArray[Any]) -> Task:
        """Return the task with all its inputs where the device has room for them."""
        is_fitting = task.files is None and inputs.nbytes <= self.request.resident_bytes
        return replace(task, inputs=inputs) if is_fitting else task

    def epochs(self, inputs: NDArray[Any], task: Task) -> EpochSequence:
        """Return the training batches of each epoch, in the core's order.

        Where the backend is to load files, the batches hold no pixels: none are read here.
        """
        rows = inputs if task.files is None else _without_pixels(inputs)

        def make(epoch: int) -> Batches:
            train = self.prepared.splits["train"]
            order = epoch_order(train, seed=self.request.seed, epoch=epoch)
            warp = self._augmentation(epoch).warp if task.is_augmented else None
            return self.batches(rows, order, warp=warp)

        return EpochSequence(self.settings.epochs, make=make)

    def batches(
        self,
        inputs: NDArray[Any],
        ids: NDArray[np.int64],
        *,
        warp: Callable[[NDArray[np.int64]], AugmentationParams] | None = None,
    ) -> Batches:
        """Return the batches of some images in the given order."""
        return BatchSequence(
            inputs, self.prepared.labels, ids, batch_size=self.settings.batch_size, warp=warp
        )

    def _task(
        self,
        network: Network,
        *,
        weights: Weights,
        trainable: tuple[str, ...],
        preprocessing: Preprocessing | None,
        is_augmented: bool,
        files: FileSource | None,
    ) -> Task:
        settings, native = self.settings, self._native()
        learner = settings if isinstance(settings, TrainingSettings) else None
        optimizer = Optimizer(**learner.optimizer.model_dump()) if learner else None
        return Task(
            network=network,
            weights=weights,
            trainable=trainable,
            output=learner.output_for(len(self.prepared.classes)) if learner else "softmax",
            optimizer=None if native else optimizer,
            preprocessing=preprocessing,
            is_augmented=is_augmented,
            execution=Execution(
                device=self.request.device,
                threads=self.request.threads,
                precision=settings.precision,
                layout=settings.layout,
                compile=settings.compile,
            ),
            seed=self.request.seed,
            files=files,
            native=native,
        )

    def _files(self) -> FileSource | None:
        files = self.request.files
        if files is None:
            return None
        return FileSource(paths=tuple(files["paths"]), folder=files["folder"])

    def _native(self) -> NativeSettings | None:
        if self.request.native is None:
            return None
        return NativeSettings(
            optimizer=self.request.native,
            augmentation=self.settings.augmentation.model_dump(exclude_defaults=True),
            batch_size=self.settings.batch_size,
        )

    def _augmentation(self, epoch: int) -> AugmentationPlan:
        images = self.prepared.images
        return AugmentationPlan(
            Augmentation(**self.settings.augmentation.model_dump()),
            images=len(images),
            seed=self.request.seed,
            epoch=epoch,
            size=images.shape[1],
            channels=images.shape[3],
        )


def _without_pixels(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return as many images of no pixels, shape (images, 0, 0, 0)."""
    return np.empty((len(images), 0, 0, 0), dtype=np.uint8)


def rows_of(inputs: NDArray[Any], work: Work) -> NDArray[Any]:
    """Return what the batches for some work hold rows of: nothing, where it has the inputs."""
    return _without_pixels(inputs) if getattr(work, "holds_inputs", False) else inputs


def load_context(
    request: TrialRequest, *, backend: Backend, clock: PhaseClock, emit: Emit, metrics: Metrics
) -> TrialContext:
    """Open the dataset, fit the preprocessing and describe the networks.

    Raises:
        UnsupportedError: The settings do not suit the dataset.
        DatasetError: The prepared images are gone.
    """
    settings = settings_from_dict(request.settings)
    prepared = Prepared.from_dict(request.prepared)
    channels = prepared.images.shape[3]
    try:
        workload = build_workload(settings, channels=channels, classes=len(prepared.classes))
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
    preprocessing = fitted(settings.preprocessing, prepared)
    metrics |= {
        "params": workload.params,
        "trainable_params": workload.trainable_params,
        "flops_per_image": workload.flops_per_image,
    }
    return TrialContext(
        request=request,
        settings=settings,
        backend=backend,
        prepared=prepared,
        preprocessing=preprocessing,
        workload=workload,
        clock=clock,
        emit=emit,
        metrics=metrics,
    )

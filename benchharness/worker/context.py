"""Context of a trial: its settings, data, networks, clock and channel to the runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.data.augmentation import Augmentation, AugmentationPlan
from benchharness.data.batches import BatchSequence, EpochSequence, epoch_order
from benchharness.data.prepared import Prepared
from benchharness.data.preprocessing import fitted
from benchharness.errors import UnsupportedError
from benchharness.fairness.ledger import fingerprint_spec
from benchharness.fairness.settings import deviations, stated
from benchharness.measure.clock import CpuTimer, now_s
from benchharness.measure.meters import peak_rss_bytes
from benchharness.model.network import Network
from benchharness.model.task import (
    AugmentationParams,
    Execution,
    FileSource,
    NativeSettings,
    Optimizer,
    Output,
    Preprocessing,
    Task,
)
from benchharness.model.work import Backend, Batches, Setting, Work
from benchharness.suite.settings import StrategySettings, TrainingSettings, settings_from_dict
from benchharness.suite.workload import Workload, build_workload
from benchharness.worker.progress import Channel, ProgressReporter
from benchharness.worker.request import WorkerRequest

# A GPU at rest takes so long to raise its clock from some hundred MHz.
_GPU_WARM_UP_S = 1.0

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialContext(Channel):
    """One trial, loaded; ``cpu`` counts while work is timed. A probe of it is deterministic."""

    request: WorkerRequest
    settings: StrategySettings
    backend: Backend
    prepared: Prepared
    preprocessing: Preprocessing
    workload: Workload
    cpu: CpuTimer = field(default_factory=CpuTimer)
    is_deterministic: bool = False

    def image_task(self, network: Network, *, weights: Weights, trainable: tuple[str, ...]) -> Task:
        """Return the work of a network that sees images; of the weights it takes its own."""
        files = self.request.files
        source = FileSource(paths=tuple(files["paths"]), folder=files["folder"]) if files else None
        # A loader of folders varies the images by itself.
        is_varied = source is not None and bool(source.folder)
        return replace(
            self.feature_task(network, weights=weights, trainable=trainable),
            preprocessing=self.preprocessing,
            is_augmented=not self.settings.augmentation.is_identity and not is_varied,
            files=source,
        )

    def feature_task(
        self, network: Network, *, weights: Weights, trainable: tuple[str, ...]
    ) -> Task:
        """Return the work of a network that sees stored features, likewise."""
        request, settings = self.request, self.settings
        native = None
        if request.native is not None:
            native = NativeSettings(
                optimizer=request.native,
                augmentation=settings.augmentation.model_dump(exclude_defaults=True),
                batch_size=settings.batch_size,
            )
        output: Output = "softmax"
        optimizer = None
        if isinstance(settings, TrainingSettings):
            output = settings.output_for(len(self.prepared.classes))
            optimizer = None if native else Optimizer(**settings.optimizer.model_dump())
        return Task(
            network=network,
            weights={name: weights[name] for name in network.parameters() if name in weights},
            trainable=trainable,
            output=output,
            optimizer=optimizer,
            preprocessing=None,
            is_augmented=False,
            execution=self.execution,
            seed=request.seed,
            native=native,
        )

    @property
    def execution(self) -> Execution:
        """Device, threads and arithmetic of the trial."""
        return Execution(
            device=self.request.device,
            threads=self.request.threads,
            precision=self.settings.precision,
            layout=self.settings.layout,
            compile=self.settings.compile,
            is_deterministic=self.is_deterministic,
        )

    def timed_task(self, task: Task, inputs: NDArray[Any]) -> Task:
        """Return the task with what a timed trial adds: steps to record, and resident inputs.

        The trial's seed samples the steps, so that its backends record the same ones. All inputs
        are in the task where the device has room for them.
        """
        steps = len(self.epochs(inputs, task)[0])
        spec = fingerprint_spec(task.input_shape, steps=steps, seed=task.seed)
        has_room = task.files is None and inputs.nbytes <= self.request.resident_bytes
        return replace(task, fingerprint_spec=spec, inputs=inputs if has_room else None)

    def epochs(self, inputs: NDArray[Any], task: Task) -> EpochSequence:
        """Return the training batches of each epoch, in the core's order.

        Where the backend is to load files, the batches hold no pixels: none are read here.
        """
        rows = inputs if task.files is None else _without_pixels(inputs)
        images, seed = self.prepared.images, self.request.seed
        augmentation = Augmentation(**self.settings.augmentation.model_dump())

        def make(epoch: int) -> Batches:
            order = epoch_order(self.prepared.splits["train"], seed=seed, epoch=epoch)
            plan = AugmentationPlan(
                augmentation,
                images=len(images),
                seed=seed,
                epoch=epoch,
                size=images.shape[1],
                channels=images.shape[3],
            )
            return self.batches(rows, order, warp=plan.warp if task.is_augmented else None)

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

    def reporter(self, phase: str, images: int) -> ProgressReporter:
        """Return the reporter of a phase that handles so many images."""
        size = self.settings.batch_size
        return ProgressReporter(emit=self.emit, phase=phase, images=images, batch_size=size)

    def report_settings(self, task: Task, work: Work, **observed: Setting) -> None:
        """Report the effective settings, also as observed in the work, and which deviate."""
        effective = dict(work.settings())
        if getattr(work, "holds_inputs", False):
            effective["inputs"] = "on the device"
        self.emit(
            {
                "event": "settings",
                "settings": {**effective, **observed},
                "deviations": list(deviations(effective, stated(task))),
            }
        )

    def report_timing(self, is_timed: bool) -> None:
        """Report to the runner's meters that timed work begins or ends."""
        (self.cpu.start if is_timed else self.cpu.stop)()
        self.metrics["cpu_s"] = self.cpu.seconds
        self.emit({"event": "timing", "state": "begin" if is_timed else "end"})

    def warm_device(self, work: Callable[[], None]) -> None:
        """Repeat work, as overhead, until a GPU is as fast as it will be."""
        if self.request.device == "gpu":
            with self.clock.phase("overhead"):
                began_s = now_s()
                while now_s() - began_s < _GPU_WARM_UP_S:
                    work()

    def keep_peak_memory(self) -> None:
        """Record the peak of the work's memory: what follows is the harness's, and may be more."""
        self.metrics.setdefault("peak_host_bytes", peak_rss_bytes())


def _without_pixels(images: NDArray[Any]) -> NDArray[np.uint8]:
    return np.empty((len(images), 0, 0, 0), dtype=np.uint8)


def rows_of(inputs: NDArray[Any], work: Work) -> NDArray[Any]:
    """Return what the batches for some work hold rows of: nothing, where it has the inputs."""
    return _without_pixels(inputs) if getattr(work, "holds_inputs", False) else inputs


def load_context(request: WorkerRequest, backend: Backend, channel: Channel) -> TrialContext:
    """Open the dataset, fit the preprocessing and describe the networks."""
    settings = settings_from_dict(request.settings)
    prepared = Prepared.from_dict(request.prepared)
    channels = prepared.images.shape[3]
    try:
        workload = build_workload(settings, channels=channels, classes=len(prepared.classes))
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
    channel.metrics.update(
        params=workload.params,
        trainable_params=workload.trainable_params,
        flops_per_image=workload.flops_per_image,
    )
    return TrialContext(
        emit=channel.emit,
        clock=channel.clock,
        resume_fd=channel.resume_fd,
        metrics=channel.metrics,
        request=request,
        settings=settings,
        backend=backend,
        prepared=prepared,
        preprocessing=fitted(settings.preprocessing, prepared),
        workload=workload,
    )

"""A run as its observers are told of it, for tests; nothing is run."""

from __future__ import annotations

from benchharness.run.events import (
    Announced,
    Certified,
    Downloading,
    EpochEnded,
    Event,
    PhaseEntered,
    Preparing,
    Probing,
    RunFinished,
    RunStarted,
    ScheduledCell,
    TrialFinished,
    TrialName,
    TrialProgress,
    TrialStarted,
)

MATRIX = {"batch_size": 32}
NAME = TrialName(
    trial_id="0123456789abcdef",
    number=1,
    benchmark="bottleneck_published",
    matrix=MATRIX,
    backend="keras",
    track="equal",
    trial=1,
)

STARTED = RunStarted(
    command="run",
    suite="cats_dogs",
    profile="cpu",
    device="a machine",
    folder="results/cats_dogs/2026-11-24T120000Z-abcd",
    trials=2,
    cells=(
        ScheduledCell(
            benchmark="bottleneck_published",
            matrix=MATRIX,
            backend="keras",
            track="equal",
            trials=2,
            epochs=10,
        ),
    ),
)
NOTED = Announced(level="note", text="data: 2,000 photographs")
WARNED = Announced(level="warning", text="another process uses the GPU")
DOWNLOADING = Downloading(what="vgg16.safetensors", done_bytes=14_700_000, count_bytes=58_900_000)
PREPARING = Preparing(done=500, count=2000)
PREPARED = Preparing(done=2000, count=2000)
PROBING = Probing(
    backend="keras",
    benchmark="bottleneck_published",
    matrix=MATRIX,
    cell=1,
    cells=3,
    number=1,
    count=9,
)
CERTIFIED = Certified(
    number=1,
    count=1,
    is_proven=False,
    certificate={
        "benchmark": "bottleneck_published",
        "matrix": MATRIX,
        "backends": ["keras", "torch"],
        "verdict": "partial: optimizer (0.5 of 0.0001)",
        "stages": [],
        "deviations": [],
    },
)
TRIAL_STARTED = TrialStarted(name=NAME, count=2, trials=2, seed=7, epochs=10, images=1800)
TRAINING = PhaseEntered(name=NAME, phase="train")
EPOCH = EpochEnded(
    name=NAME,
    epoch=1,
    epochs=10,
    train_s=1.5,
    images_per_s=1234.5,
    train_loss=0.69314,
    train_top1=0.5,
    validation_loss=0.6,
    validation_top1=0.5123,
)
ADVANCED = TrialProgress(name=NAME, phase="train", epoch=2, done=900, images=1800, seconds=0.75)
TRIAL_FINISHED = TrialFinished(
    name=NAME,
    status="ok",
    reason="",
    proof="proven",
    flags=(),
    metrics={"wall_s": 21.04, "train_images_per_s": 1234.5, "test_top1": 0.9123},
    log="logs/0123456789abcdef.log",
)
FAILED = TrialFinished(
    name=NAME,
    status="oom",
    reason="MemoryError: unable to allocate 11 GB",
    proof="",
    flags=(),
    metrics={},
    log="",
)
FINISHED = RunFinished(exit_code=0, folder=STARTED.folder, answers=("torch is faster",))

WHOLE_RUN: tuple[Event, ...] = (
    STARTED,
    NOTED,
    WARNED,
    DOWNLOADING,
    PREPARING,
    PREPARED,
    PROBING,
    CERTIFIED,
    TRIAL_STARTED,
    TRAINING,
    EPOCH,
    ADVANCED,
    TRIAL_FINISHED,
    FINISHED,
)

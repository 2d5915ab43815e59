"""Every column of the result tables, in order: the source of the CSV files and of their docs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "int", "float", "bool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        unit: As printed in the docs; empty for names, counts without unit and yes or no.
        is_phase: Whether it is a part of a trial's wall time. All phases add up to ``wall_s``.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    is_phase: bool = False

    @property
    def is_number(self) -> bool:
        """Whether a median of it makes sense."""
        return self.kind in ("int", "float")


def _column(name: str, kind: Kind, unit: str, meaning: str) -> Column:
    return Column(name=name, kind=kind, unit=unit, meaning=meaning)


def _phase(name: str, meaning: str) -> Column:
    return Column(name=name, kind="float", unit="s", meaning=meaning, is_phase=True)


CELL = (
    _column("benchmark", "text", "", "name in the suite"),
    _column("strategy", "text", "", "way to learn: dataset, simple_cnn, bottleneck, fine_tune"),
    _column("backend", "text", "", "framework that did the work"),
    _column("track", "text", "", "equal: all settings pinned alike; native: each its defaults"),
)

# Between CELL and TRIAL stand the settings of the matrix, one column each.
TRIAL = (
    _column("trial", "int", "", "which execution of its cell, from 1"),
    _column("seed", "int", "", "decides weights, batch order and augmentation"),
    _column("status", "text", "", "ok, failed, timeout, oom, diverged or skipped"),
    _column("reason", "text", "", "why it is not ok, and what to try"),
    _column("proof", "text", "", "same work: proven, partial: WHAT, not comparable: WHY, or empty"),
    _column("ledger", "text", "", "batches, images and scores: as planned, or what was not"),
    _column("flags", "text", "", "what looks wrong with the numbers"),
    _column("failed_in", "text", "", "the phase in which it went wrong, and the epoch"),
    _column("attempts", "int", "", "how often it was begun, with --retries"),
)

METRICS = (
    _column("params", "int", "", "values in the network"),
    _column("trainable_params", "int", "", "values the optimizer updates"),
    _column("flops_per_image", "int", "FLOP", "of one forward pass, a multiply-add counted as two"),
    _column("train_flops_per_image", "int", "FLOP", "of one training step, forward and backward"),
    _column(
        "train_images_per_s", "float", "images/s", "training images, or stored features, a second"
    ),
    _column("feed_images_per_s", "float", "images/s", "brought to the device, ready for a network"),
    _column("extract_images_per_s", "float", "images/s", "through the frozen backbone"),
    _column("epoch_s", "float", "s", "one pass over the training images, evaluation excluded"),
    _column("best_epoch_s", "float", "s", "an epoch, each half as fast as in any of them"),
    _column("step_ms_p50", "float", "ms", "median of steps, each with the mean of its block"),
    _column("step_ms_p90", "float", "ms", "90th percentile of such steps"),
    _column("step_ms_p99", "float", "ms", "99th percentile of such steps"),
    _column("compute_ms", "float", "ms", "a training step repeated on a batch on the device"),
    _column("input_wait_fraction", "float", "0-1", "training time spent waiting for images"),
    _column("outside_fraction", "float", "0-1", "1 - compute_ms / step_ms_p50, at least 0"),
    _phase("startup_s", "starting the worker process"),
    _phase("import_s", "importing the framework"),
    _phase("data_s", "opening the prepared images"),
    _phase("build_s", "building the network and loading its initial weights"),
    _phase("compile_s", "first steps of each kind, tracing and compiling included"),
    _phase("calibrate_s", "checking the clock, and the device's matrix product"),
    _phase("replay_s", "repeating a training step for compute_ms"),
    _phase("extract_s", "running all images through the frozen backbone"),
    _column("extract_reused", "bool", "", "whether stored features of an earlier trial were read"),
    _phase("feed_s", "bringing images to the device, all epochs"),
    _phase("train_s", "all epochs of training, evaluation excluded"),
    _phase("evaluate_s", "scoring the validation images after each epoch"),
    _phase("test_s", "scoring the test images, once, from logits"),
    _phase("ledger_s", "checking what was consumed, counted and scored"),
    _phase("store_s", "writing extracted features"),
    _phase("overhead_s", "what the framework does around its epochs"),
    _phase("save_s", "writing weights"),
    _phase("teardown_s", "ending the worker process"),
    _phase("other_s", "wall time that no phase accounts for"),
    _column("wall_s", "float", "s", "the whole trial"),
    _column("checks_s", "float", "s", "calibrate_s, replay_s and ledger_s, which only we need"),
    _column("total_s", "float", "s", "wall_s without checks_s"),
    _column("time_to_top1_s", "float", "s", "training until the target validation top-1"),
    _column("train_loss", "float", "nats", "of the last epoch"),
    _column("train_top1", "float", "0-1", "of the last epoch"),
    _column("validation_loss", "float", "nats", "after the last epoch"),
    _column("validation_top1", "float", "0-1", "after the last epoch"),
    _column("validation_right", "int", "", "validation images whose best guess is right then"),
    _column("best_validation_top1", "float", "0-1", "highest after any epoch"),
    _column("best_epoch", "int", "", "the epoch of best_validation_top1, from 1"),
    _column("test_loss", "float", "nats", "once, after the last epoch"),
    _column("test_top1", "float", "0-1", "test_right over test_count"),
    _column("test_right", "int", "", "test images whose best guess is right, after the last epoch"),
    _column("peak_host_bytes", "int", "bytes", "peak of worker and children while they work"),
    _column("peak_device_bytes", "int", "bytes", "peak device memory while it works"),
    _column("cpu_s", "float", "s", "processor seconds of all threads while training or feeding"),
    _column("foreign_cores", "float", "cores", "at work for other processes of this machine"),
    _column("energy_j", "float", "J", "drawn while training or feeding"),
    _column("energy_source", "text", "", "its source: nvml (the GPU) or rapl (the processor)"),
    _column("device_utilization", "float", "0-1", "time in which the device was at work"),
    _column("device_clock_mhz", "float", "MHz", "median clock of the device"),
    _column("throttled", "text", "", "why the device slowed down; empty: it did not, or unknown"),
    _column("peak_flops_per_s", "float", "FLOP/s", "of the run's fastest matrix product"),
    _column("peak_source", "text", "", "whose product it was: numpy's or a backend's, by its name"),
    _column(
        "fraction_of_peak",
        "float",
        "0-1",
        "training FLOP/s over peak_flops_per_s; Winograd: above 1",
    ),
    _column("head_from", "text", "", "the trial whose trained head this one started from"),
)

ORIGIN = (
    _column("classes", "int", "", "classes in the dataset"),
    _column("train_count", "int", "", "training images of an epoch"),
    _column("validation_count", "int", "", "validation images"),
    _column("test_count", "int", "", "test images"),
    _column("id", "text", "", "digest of all that decides the trial's outcome"),
    _column("started", "text", "", "UTC, ISO 8601"),
    _column("log", "text", "", "what the trial printed, a path below the run folder"),
)

EPOCH = (
    _column("epoch", "int", "", "from 1"),
    _column("train_s", "float", "s", "training in this epoch, evaluation excluded"),
    _column("train_loss", "float", "nats", "mean over the epoch's training images"),
    _column("train_top1", "float", "0-1", "train_right over the epoch's training images"),
    _column("train_right", "int", "", "training images whose best guess was right"),
    _column("validation_loss", "float", "nats", "after the epoch"),
    _column("validation_top1", "float", "0-1", "after the epoch"),
    _column("validation_right", "int", "", "validation images whose best guess is right"),
)

PHASES = tuple(column.name for column in METRICS if column.is_phase)

# In summary.csv every numeric metric is a median over the trials that are ok; these also get
# the columns <name>_min and <name>_max.
SPREAD = ("train_images_per_s", "epoch_s", "time_to_top1_s", "validation_top1", "test_top1")

COUNTS = (
    _column("trials", "int", "", "executions of the cell"),
    _column("trials_ok", "int", "", "of them, how many are ok"),
    _column("reasons", "text", "", "why the others are not"),
    _column("proof", "text", "", "the worst verdict of its trials"),
    _column("target_top1", "float", "0-1", "validation top-1 to reach"),
    _column("target_misses", "int", "", "ok trials that never reached it"),
    _column("flags", "text", "", "what looks wrong with the numbers of any trial"),
)

PUBLISHED = (
    _column("published_top1", "float", "0-1", "of the source that the benchmark reproduces"),
    _column("published_epoch_s", "float", "s", "of the same source"),
    _column("published_note", "text", "", "note of the source"),
)

FIXED_NAMES = frozenset(
    column.name
    for group in (CELL, TRIAL, METRICS, ORIGIN, EPOCH, COUNTS, PUBLISHED)
    for column in group
) | {"suite", "run"}


def matrix_column(setting: str) -> str:
    """Return the column of a matrix setting: its name, or ``matrix.<name>`` where that is taken."""
    return f"matrix.{setting}" if setting in FIXED_NAMES else setting

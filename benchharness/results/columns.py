"""Every column of the result tables, in order: the source of the CSV files and of their docs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "int", "float", "bool"]


@dataclass(frozen=True, slots=True)
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


def _phase(name: str, meaning: str) -> Column:
    return Column(name, "float", "s", meaning, is_phase=True)


CELL = (
    Column("benchmark", "text", "", "name in the suite"),
    Column("strategy", "text", "", "way to learn: dataset, simple_cnn, bottleneck, fine_tune"),
    Column("backend", "text", "", "framework that did the work"),
    Column("track", "text", "", "equal: all settings pinned alike; native: each its defaults"),
)

# Between CELL and TRIAL stand the settings of the matrix, one column each.
TRIAL = (
    Column("trial", "int", "", "which execution of its cell, from 1"),
    Column("seed", "int", "", "decides weights, batch order and augmentation"),
    Column("status", "text", "", "ok, failed, timeout, oom, diverged or skipped"),
    Column("reason", "text", "", "why it is not ok, and what to try"),
    Column("proof", "text", "", "same work: proven, partial: WHAT, not comparable: WHY, or empty"),
    Column("ledger", "text", "", "batches, images and scores: as planned, or what was not"),
    Column("flags", "text", "", "what looks wrong with the numbers"),
    Column("failed_in", "text", "", "the phase in which it went wrong, and the epoch"),
    Column("attempts", "int", "", "how often it was begun, with --retries"),
)

METRICS = (
    Column("params", "int", "", "values in the network"),
    Column("trainable_params", "int", "", "values the optimizer updates"),
    Column("flops_per_image", "int", "FLOP", "of one forward pass, a multiply-add counted as two"),
    Column("train_flops_per_image", "int", "FLOP", "of one training step, forward and backward"),
    Column(
        "train_images_per_s", "float", "images/s", "training images, or stored features, a second"
    ),
    Column("feed_images_per_s", "float", "images/s", "brought to the device, ready for a network"),
    Column("extract_images_per_s", "float", "images/s", "through the frozen backbone"),
    Column("epoch_s", "float", "s", "one pass over the training images, evaluation excluded"),
    Column("best_epoch_s", "float", "s", "an epoch, each half as fast as in any of them"),
    Column("step_ms_p50", "float", "ms", "median of steps, each with the mean of its block"),
    Column("step_ms_p90", "float", "ms", "90th percentile of such steps"),
    Column("step_ms_p99", "float", "ms", "99th percentile of such steps"),
    Column("compute_ms", "float", "ms", "a training step repeated on a batch on the device"),
    Column("input_wait_fraction", "float", "0-1", "training time spent waiting for images"),
    Column("outside_fraction", "float", "0-1", "1 - compute_ms / step_ms_p50, at least 0"),
    _phase("startup_s", "starting the worker process"),
    _phase("import_s", "importing the framework"),
    _phase("data_s", "opening the prepared images"),
    _phase("build_s", "building the network and loading its initial weights"),
    _phase("compile_s", "first steps of each kind, tracing and compiling included"),
    _phase("calibrate_s", "checking the clock, and the device's matrix product"),
    _phase("replay_s", "repeating a training step for compute_ms"),
    _phase("extract_s", "running all images through the frozen backbone"),
    Column("extract_reused", "bool", "", "whether stored features of an earlier trial were read"),
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
    Column("wall_s", "float", "s", "the whole trial"),
    Column("checks_s", "float", "s", "calibrate_s, replay_s and ledger_s, which only we need"),
    Column("total_s", "float", "s", "wall_s without checks_s"),
    Column("time_to_top1_s", "float", "s", "training until the target validation top-1"),
    Column("train_loss", "float", "nats", "of the last epoch"),
    Column("train_top1", "float", "0-1", "of the last epoch"),
    Column("validation_loss", "float", "nats", "after the last epoch"),
    Column("validation_top1", "float", "0-1", "after the last epoch"),
    Column("validation_right", "int", "", "validation images whose best guess is right then"),
    Column("best_validation_top1", "float", "0-1", "highest after any epoch"),
    Column("best_epoch", "int", "", "the epoch of best_validation_top1, from 1"),
    Column("test_loss", "float", "nats", "once, after the last epoch"),
    Column("test_top1", "float", "0-1", "test_right over test_count"),
    Column("test_right", "int", "", "test images whose best guess is right, after the last epoch"),
    Column("peak_host_bytes", "int", "bytes", "peak of worker and children while they work"),
    Column("peak_device_bytes", "int", "bytes", "peak device memory while it works"),
    Column("cpu_s", "float", "s", "processor seconds of all threads while training or feeding"),
    Column("foreign_cores", "float", "cores", "at work for other processes of this machine"),
    Column("energy_j", "float", "J", "drawn while training or feeding"),
    Column("energy_source", "text", "", "its source: nvml (the GPU) or rapl (the processor)"),
    Column("device_utilization", "float", "0-1", "time in which the device was at work"),
    Column("device_clock_mhz", "float", "MHz", "median clock of the device"),
    Column("throttled", "text", "", "why the device slowed down; empty: it did not, or unknown"),
    Column("peak_flops_per_s", "float", "FLOP/s", "of the run's fastest matrix product"),
    Column("peak_source", "text", "", "whose product it was: numpy's or a backend's, by its name"),
    Column(
        "fraction_of_peak",
        "float",
        "0-1",
        "training FLOP/s over peak_flops_per_s; Winograd: above 1",
    ),
    Column("head_from", "text", "", "the trial whose trained head this one started from"),
)

ORIGIN = (
    Column("classes", "int", "", "classes in the dataset"),
    Column("train_count", "int", "", "training images of an epoch"),
    Column("validation_count", "int", "", "validation images"),
    Column("test_count", "int", "", "test images"),
    Column("id", "text", "", "digest of all that decides the trial's outcome"),
    Column("host", "text", "", "name of the host that ran it"),
    Column("machine", "text", "", "kind of machine, within which times are compared"),
    Column("started", "text", "", "UTC, ISO 8601"),
    Column("log", "text", "", "what the trial printed, a path below the run folder"),
)

EPOCH = (
    Column("epoch", "int", "", "from 1"),
    Column("train_s", "float", "s", "training in this epoch, evaluation excluded"),
    Column("train_loss", "float", "nats", "mean over the epoch's training images"),
    Column("train_top1", "float", "0-1", "train_right over the epoch's training images"),
    Column("train_right", "int", "", "training images whose best guess was right"),
    Column("validation_loss", "float", "nats", "after the epoch"),
    Column("validation_top1", "float", "0-1", "after the epoch"),
    Column("validation_right", "int", "", "validation images whose best guess is right"),
)

PHASES = tuple(column.name for column in METRICS if column.is_phase)

# In summary.csv every numeric metric is a median over the trials that are ok; these also get
# the columns <name>_min and <name>_max.
SPREAD = ("train_images_per_s", "epoch_s", "time_to_top1_s", "validation_top1", "test_top1")

COUNTS = (
    Column("machine", "text", "", "kind of machine that ran the cell"),
    Column("trials", "int", "", "executions of the cell"),
    Column("trials_ok", "int", "", "of them, how many are ok"),
    Column("reasons", "text", "", "why the others are not"),
    Column("proof", "text", "", "the worst verdict of its trials"),
    Column("target_top1", "float", "0-1", "validation top-1 to reach"),
    Column("target_misses", "int", "", "ok trials that never reached it"),
    Column("flags", "text", "", "what looks wrong with the numbers of any trial"),
)

PUBLISHED = (
    Column("published_top1", "float", "0-1", "of the source that the benchmark reproduces"),
    Column("published_epoch_s", "float", "s", "of the same source"),
    Column("published_note", "text", "", "note of the source"),
)

FIXED_NAMES = frozenset(
    column.name
    for group in (CELL, TRIAL, METRICS, ORIGIN, EPOCH, COUNTS, PUBLISHED)
    for column in group
) | {"suite", "run"}


def matrix_column(setting: str) -> str:
    """Return the column of a matrix setting: its name, or ``matrix.<name>`` where that is taken."""
    return f"matrix.{setting}" if setting in FIXED_NAMES else setting

"""Quantities of trials that can be compared: columns of the results, and which way is worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["speed", "amount", "accuracy"]
# How much worse counts, where nobody says otherwise: of speed and amounts a share, of accuracy
# the difference itself.
THRESHOLDS: Mapping[Kind, float] = {"speed": 0.05, "amount": 0.02, "accuracy": 0.02}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A column of the results that can get worse.

    Attributes:
        name: Of the column.
        words: For people, short; empty where the name will do.
        kind: Speeds and amounts are compared by quotients, accuracies by differences.
        is_rate: Whether more is better.
        is_usual: Whether it is compared where nobody chooses.
        is_watched: Whether it then only raises alarms: to decide it takes more trials than anyone
            would wait for.
        is_alternative: Whether it then is one of several measures of one speed, of which it is
            enough that one decides: which of them scatters least depends on the noise.
        is_best_case: Whether it tells of the fastest epochs alone: it does not decide where an
            alternative is beyond its limit.
        target: The setting whose value a trial has to reach; a trial that has the setting and no
            value here has missed it, and took infinitely long. Empty for none.
        own_threshold: Where it is not that of its kind.
    """

    name: str
    kind: Kind
    words: str = ""
    is_rate: bool = False
    is_usual: bool = False
    is_watched: bool = False
    is_alternative: bool = False
    is_best_case: bool = False
    target: str = ""
    own_threshold: float | None = None

    @property
    def threshold(self) -> float:
        """How much worse counts, where nobody says otherwise."""
        return self.own_threshold or THRESHOLDS[self.kind]


def _rate(name: str, words: str, *, is_alternative: bool = False) -> Quantity:
    return Quantity(
        name=name,
        kind="speed",
        words=words,
        is_rate=True,
        is_usual=True,
        is_alternative=is_alternative,
    )


def _amount(name: str, words: str) -> Quantity:
    return Quantity(name=name, kind="amount", words=words, is_usual=True)


def _durations(*names: str) -> list[Quantity]:
    return [Quantity(name=name, kind="speed") for name in names]


QUANTITIES: Mapping[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        # Of equal code the best epoch scattered a third as much as the throughput beside neighbours
        # that rest at times, and up to three times as much beside one that does not.
        Quantity(
            name="best_epoch_s",
            kind="speed",
            words="best epoch",
            is_usual=True,
            is_alternative=True,
            is_best_case=True,
        ),
        _rate("train_images_per_s", "training", is_alternative=True),
        _rate("feed_images_per_s", "feeding", is_alternative=True),
        _rate("extract_images_per_s", "extraction"),
        *_durations("epoch_s", "step_ms_p50", "step_ms_p90", "step_ms_p99"),
        *_durations("startup_s", "import_s", "data_s", "build_s", "compile_s"),
        *_durations("train_s", "evaluate_s", "overhead_s", "wall_s"),
        Quantity(name="time_to_top1_s", kind="speed", words="time to target", target="target_top1"),
        _amount("peak_host_bytes", "host memory"),
        _amount("peak_device_bytes", "device memory"),
        Quantity(name="cpu_s", kind="amount", words="CPU time", own_threshold=0.05),
        Quantity(name="energy_j", kind="amount", words="energy", own_threshold=0.05),
        Quantity(
            name="test_top1",
            kind="accuracy",
            words="test top-1",
            is_rate=True,
            is_usual=True,
            is_watched=True,
        ),
        Quantity(name="validation_top1", kind="accuracy", words="validation top-1", is_rate=True),
    )
}
USUAL = tuple(name for name, quantity in QUANTITIES.items() if quantity.is_usual)

"""Quantities of trials that can be compared: columns of the results, and which way is worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["speed", "amount", "accuracy"]
# How much worse counts, where nobody says otherwise: of speed and amounts a share, of accuracy
# the difference itself.
THRESHOLDS: Mapping[Kind, float] = {"speed": 0.05, "amount": 0.02, "accuracy": 0.02}


@dataclass(frozen=True, slots=True)
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


_COLUMNS = (
    # Of equal code the best epoch scattered a third as much as the throughput beside neighbours
    # that rest at times, and up to three times as much beside one that does not.
    Quantity(
        "best_epoch_s", "speed", "best epoch", is_usual=True, is_alternative=True, is_best_case=True
    ),
    Quantity(
        "train_images_per_s", "speed", "training", is_rate=True, is_usual=True, is_alternative=True
    ),
    Quantity(
        "feed_images_per_s", "speed", "feeding", is_rate=True, is_usual=True, is_alternative=True
    ),
    Quantity("extract_images_per_s", "speed", "extraction", is_rate=True, is_usual=True),
    *(
        Quantity(name, "speed")
        for name in (
            "epoch_s", "step_ms_p50", "step_ms_p90", "step_ms_p99", "startup_s", "import_s",
            "data_s", "build_s", "compile_s", "train_s", "evaluate_s", "overhead_s", "wall_s",
        )
    ),
    Quantity("time_to_top1_s", "speed", "time to target", target="target_top1"),
    Quantity("peak_host_bytes", "amount", "host memory", is_usual=True),
    Quantity("peak_device_bytes", "amount", "device memory", is_usual=True),
    Quantity("cpu_s", "amount", "CPU time", own_threshold=0.05),
    Quantity("energy_j", "amount", "energy", own_threshold=0.05),
    Quantity("test_top1", "accuracy", "test top-1", is_rate=True, is_usual=True, is_watched=True),
    Quantity("validation_top1", "accuracy", "validation top-1", is_rate=True),
)  # fmt: skip
QUANTITIES: Mapping[str, Quantity] = {quantity.name: quantity for quantity in _COLUMNS}
USUAL = tuple(name for name, quantity in QUANTITIES.items() if quantity.is_usual)

"""Progress in words: names, numbers, and lines that fit a width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.run.eta import Estimate
from benchharness.run.events import TrialFinished, TrialName

_GAP = "  "
_NARROWEST_NAME = 10


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a line.

    Attributes:
        text: Padded to a width that does not change from one moment to the next.
        weight: Fields of little weight make room first.
        short: The same in fewer cells; empty for none.
        is_name: Whether it may be cut short.
    """

    text: str
    weight: int
    short: str = ""
    is_name: bool = False


def fitted(fields: Sequence[Field], width: int) -> str:
    """Return the fields on one line of at most ``width`` cells.

    What is too wide is said in short, then left out, the field of least weight first; names are
    cut as far as needed.
    """
    kept = [field for field in fields if field.text.strip()]
    while len(kept) > 1 and _width(kept, is_name_short=True) > width:
        wordy = [field for field in kept if field.short]
        lightest = min(wordy or kept, key=lambda field: field.weight)
        place = kept.index(lightest)
        kept[place : place + 1] = [Field(lightest.short, lightest.weight)] if wordy else []
    return cut(_GAP.join(_texts(kept, excess=_width(kept) - width)), width)


def cut(text: str, width: int) -> str:
    """Return the text in at most ``width`` cells of a terminal; what is cut off leaves a mark."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, max(width - 1, 0)).rstrip()}\N{HORIZONTAL ELLIPSIS}"[:width]


def point(benchmark: str, matrix: Mapping[str, Any]) -> str:
    """Return a benchmark and its point of the matrix."""
    return benchmark + "".join(f" {key}={value}" for key, value in matrix.items())


def cell_name(name: TrialName) -> str:
    """Return benchmark, point of the matrix, backend and, unless it is the equal one, track."""
    return f"{point(name.benchmark, name.matrix)} on {side(name)}"


def side(name: TrialName) -> str:
    """Return backend and, unless it is the equal one, track."""
    return name.backend if name.track == "equal" else f"{name.backend} ({name.track})"


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def left(estimate: Estimate | None) -> str:
    """Return what is left; empty where nothing is known."""
    if estimate is None:
        return ""
    return f"{'> ' if estimate.is_lower_bound else ''}{clock(estimate.seconds)} left"


def rate(images_per_s: float) -> str:
    """Return a throughput; fractions where there are few images a second."""
    return f"{images_per_s:,.0f}" if images_per_s >= 10 else f"{images_per_s:.1f}"


def amount(done_bytes: int | None, count_bytes: int | None) -> str:
    """Return how much of a download is there, as far as that is known."""
    if done_bytes is None:
        return ""
    done = f"{done_bytes / 1e6:,.1f}"
    return f"{done} of {count_bytes / 1e6:,.1f} MB" if count_bytes else f"{done} MB"


def ending(event: TrialFinished) -> str:
    """Return how a trial ended: status, seconds, throughput, accuracy, and what went wrong.

    Numbers that look wrong are marked as in the table, which says why.
    """
    metrics, parts = event.metrics, [event.status]
    if "wall_s" in metrics:
        parts[0] += f" in {metrics['wall_s']:.1f} s"
    images_per_s = metrics.get("train_images_per_s", metrics.get("feed_images_per_s"))
    if images_per_s is not None:
        # Whoever extracts features trains on them.
        unit = "features/s" if "extract_s" in metrics else "images/s"
        parts.append(f"{rate(images_per_s)} {unit}")
    if "test_top1" in metrics:
        parts.append(f"test top-1 {metrics['test_top1']:.3f}")
    mark = "!" if event.flags else ""
    reason = f": {event.reason}" if event.reason else ""
    if event.failed_in and event.status != "ok":
        parts.append(f"in {event.failed_in}")
    return ", ".join(parts) + mark + reason


def _texts(fields: Sequence[Field], *, excess: int) -> list[str]:
    from rich.cells import cell_len

    return [
        cut(field.text, max(cell_len(field.text) - excess, _NARROWEST_NAME))
        if field.is_name and excess > 0
        else field.text
        for field in fields
    ]


def _width(fields: Sequence[Field], *, is_name_short: bool = False) -> int:
    from rich.cells import cell_len

    widths = [
        min(cell_len(field.text), _NARROWEST_NAME)
        if field.is_name and is_name_short
        else cell_len(field.text)
        for field in fields
    ]
    return sum(widths) + len(_GAP) * (len(fields) - 1)

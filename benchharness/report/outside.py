"""Share of a training step outside the framework's computation, as notes and answers state it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchharness.report.comparisons import certainty, times_text
from benchharness.report.pairs import Pair
from benchharness.report.rows import Line, Note, printable
from benchharness.results.cells import Cell

# Above this share, a ratio of speeds compares feeding and adapters as much as frameworks.
NOTABLE_ABOVE = 0.15
# A ratio of computation alone that is nearer to the ratio of speeds adds nothing.
NEAR = 1.05


def outside_of(lines: Sequence[Line]) -> Iterator[Note]:
    """Yield where much of a step is outside the computation, all in one note."""
    places = []
    for line in lines:
        shares = [
            f"{printable(cell.backend)} {_percent(share)}"
            for cell in line.recorded
            if (share := _notable_share(cell)) is not None
        ]
        places += [f"{line.name} ({', '.join(shares)})"] if shares else []
    if places:
        text = (
            f"{'; '.join(places)}: share of a training step outside the framework's computation "
            "(feeding, copying, the adapter), which the speed ratio measures too"
        )
        yield Note(label="outside computation", text=text)


def unknown_of(lines: Sequence[Line]) -> Iterator[Note]:
    """Yield which backends of the equal track have trained without a replay, all in one note."""
    trained: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for line in lines:
        for cell in line.recorded:
            if _has_steps(cell):
                trained.setdefault(cell.backend, []).append(line.name)
                if not cell.values("compute_ms"):
                    unknown.setdefault(cell.backend, []).append(line.name)
    backends = (
        printable(backend) + ("" if names == trained[backend] else f" in {', '.join(names)}")
        for backend, names in unknown.items()
    )
    if unknown:
        text = (
            f"{', '.join(backends)}: no replay was measured (the plugin offers none, the log says "
            "why it failed, or the run is older than this measurement)"
        )
        yield Note(label="computation unknown", text=text)


def clauses_of(pair: Pair) -> Iterator[str]:
    """Yield what an answer says of a pair: the shares above the limit, the computation alone."""
    shares = [(cell.backend, _notable_share(cell)) for cell in (pair.ours, pair.theirs)]
    notable = [(backend, share) for backend, share in shares if share is not None]
    if notable:
        sides = ", ".join(f"{printable(backend)}: {_percent(share)}" for backend, share in notable)
        whose = "its" if len(notable) == 1 else "their"
        yield f"{sides} of a step is outside {whose} computation"
    speed, computation = pair.speed(), pair.computation()
    if pair.ours.track != "equal" or speed is None or computation is None:
        return
    times = speed.times / computation.times
    if notable or not 1 / NEAR <= times <= NEAR:
        why = certainty(computation, is_disturbed=pair.is_disturbed)
        yield f"computation alone {times_text(computation)}x ({why})"


def _notable_share(cell: Cell) -> float | None:
    share = cell.median("outside_fraction")
    return share if share is not None and share > NOTABLE_ABOVE else None


def _has_steps(cell: Cell) -> bool:
    is_training = cell.median("train_images_per_s") is not None
    return cell.track == "equal" and is_training and cell.median("step_ms_p50") is not None


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

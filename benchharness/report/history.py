"""History of a suite: for each cell its change points, its state and a table of runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from benchharness.history.changepoints import FEWEST
from benchharness.history.history import History, Point, Series, Step, differences
from benchharness.model.quantities import QUANTITIES, Kind
from benchharness.report.rows import UNKNOWN, counted, format_share, printable, rounded
from benchharness.results.columns import METRICS

COLUMNS = ("run", "commit", "value", "spread", "changed")
LEGEND = (
    "value: median of the run's trials or rounds; spread: from lowest to highest trial, or between "
    "the quartiles of the rounds, in % of it; changed: what was another version than in the run "
    "before; +: with uncommitted changes"
)
BARS = "▁▂▃▄▅▆▇█"
MAX_BARS = 60
# Worse, better.
WORDS: dict[Kind, tuple[str, str]] = {
    "speed": ("slower", "faster"),
    "amount": ("more", "less"),
    "accuracy": ("lower", "higher"),
}
# From seconds to what reads well, the largest that leaves 1 or more.
_SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_UNITS = {column.name: column.unit for column in METRICS}


def history_view(history: History, *, last: int) -> Group:
    """Return everything, series by series; ``last`` is the number of rows of each table."""
    parts: list[RenderableType] = []
    for series in history.series:
        parts.append(Text(heading(series), style="bold"))
        parts.append(Text(f"on {printable(series.terms.machine)}", style="dim"))
        parts.append(Text(_sparkline(series)))
        for step in series.steps:
            style = "bold red" if step.is_worse else "bold green"
            parts.append(Text(step_text(series, step), style=style))
        parts.append(Text(state_text(series), style="yellow" if _stands_out(series) else ""))
        table = Table(box=box.MINIMAL, show_edge=False, pad_edge=False, header_style="")
        for name in COLUMNS:
            justify: JustifyMethod = "right" if name in ("value", "spread") else "left"
            table.add_column(name, justify=justify, no_wrap=name != "changed", overflow="fold")
        rows = rows_of(series)
        for row in rows[-last:]:
            table.add_row(*map(Text, row))
        if len(rows) > last:
            table.caption = f"{len(rows) - last} earlier runs not shown"
            table.caption_justify = "left"
        parts.append(table)
        if versions := newest_versions(series):
            parts.append(Text(f"newest: {versions}", style="dim"))
        parts.append(Text())
    parts += [Text(line, style="yellow") for line in excluded_text(history)]
    return Group(*parts, Text(LEGEND, style="dim"))


def scale_of(series: Series) -> tuple[float, str]:
    """Return factor and unit (empty for none) that suit all values of a series."""
    name = series.quantity.name
    unit = _UNITS.get(name, "s")
    if name == "ops":
        return 1.0, "1/s"
    if unit == "bytes":
        return 1e-9, "GB"
    if unit == "s" and name not in QUANTITIES:
        least = min(point.value for point in series.points)
        best = next((key for key, factor in _SECONDS.items() if least * factor >= 1), "ns")
        return _SECONDS[best], best
    return 1.0, "" if unit == "0-1" else unit


def heading(series: Series) -> str:
    """Return what a series is of."""
    _, unit = scale_of(series)
    return f"{printable(series.cell)}: {series.quantity.name}{f' ({unit})' if unit else ''}"


def step_text(series: Series, step: Step) -> str:
    """Return a step in a sentence: how large, since when, and what changed with it."""
    what = "; ".join(map(printable, step.differences))
    figures = _figures(series, [step.was, step.became], " -> ")
    return (
        f"{size_text(series, step.was, step.became)} since {when(step.after)} ({figures}): "
        f"{what or 'no recorded change (code, versions); check the machine'}"
    )


def state_text(series: Series) -> str:
    """Return how the newest run stands."""
    if series.is_short:
        return f"{counted(len(series.points), 'run')}: a step shows with {2 * FEWEST}"
    level = series.levels[-1]
    since = when(series.points[level.first])
    if (speeds := series.two_speeds) is not None:
        return (
            f"{speeds.changes} changes between two levels, "
            f"{_figures(series, [speeds.low, speeds.high], ' and ')}: a machine "
            "with two speeds rather than steps of the code"
        )
    if not _stands_out(series):
        return f"steady since {since}, {level.runs} runs"
    size = size_text(series, series.value_of(level), series.points[-1].value)
    return f"the last run is {size} than the level since {since}; {FEWEST} such runs make a step"


def size_text(series: Series, was: float, became: float) -> str:
    """Return by how much a value has moved, and which way."""
    worse, better = WORDS[series.quantity.kind]
    word = worse if (became < was) == series.quantity.is_rate else better
    if series.quantity.kind == "accuracy":
        return f"{abs(became - was):.4f} {word}"
    return f"{max(became / was, was / became) - 1:.1%} {word}"


def excluded_text(history: History) -> list[str]:
    """Return which runs were left out, and why, the most frequent reason first."""
    ordered = sorted(history.excluded.items(), key=lambda item: -item[1])
    return [f"{counted(count, 'run')} excluded: {printable(reason)}" for reason, count in ordered]


def rows_of(series: Series) -> list[Sequence[str]]:
    """Return a row per run: when, commit, value, spread, and what changed since the run before."""
    factor, _ = scale_of(series)
    values = rounded([point.value * factor for point in series.points])
    rows: list[Sequence[str]] = []
    for before, point, value in zip([None, *series.points], series.points, values, strict=False):
        commit = f"{point.commit[:9]}{'+' if point.is_dirty else ''}" if point.commit else UNKNOWN
        spread = UNKNOWN if point.spread is None else f"{point.spread:.1%}"
        changed = map(printable, differences(before, point)) if before else ()
        texts = [text for text in changed if not text.startswith(("commit ", "uncommitted "))]
        rows.append((when(point), commit, value, spread, ", ".join(texts)))
    return rows


def newest_versions(series: Series) -> str:
    """Return the versions of the newest run."""
    versions = series.points[-1].versions
    return ", ".join(f"{printable(name)} {printable(versions[name])}" for name in sorted(versions))


def when(point: Point) -> str:
    """Return the time of a run, to the minute."""
    return f"{point.when:%Y-%m-%d %H:%M}"


def _sparkline(series: Series) -> str:
    """Return a mark for each of the newest runs, the higher the larger the value."""
    values = [point.value for point in series.points[-MAX_BARS:]]
    low, high = min(values), max(values)
    # Noise of a hundredth is no mountain range.
    room = max(high - low, 0.05 * abs(high)) or 1.0
    shares = ((value - (low + high) / 2) / room + 0.5 for value in values)
    return "".join(BARS[min(len(BARS) - 1, int(share * len(BARS)))] for share in shares)


def _stands_out(series: Series) -> bool:
    """Whether the newest run is farther from its level than any but one of the level's runs."""
    level = series.levels[-1]
    middle = series.value_of(level)
    if series.is_short or not middle:
        return False
    moves = [abs(point.value / middle - 1) for point in series.points[level.first : level.last + 1]]
    usual = sorted(moves[:-1])[-2] if len(moves) > 2 else 0.0
    return moves[-1] > max(0.05, 2 * usual)


def _figures(series: Series, values: Sequence[float], joint: str) -> str:
    """Return values with their unit."""
    factor, unit = scale_of(series)
    scaled = [value * factor for value in values]
    texts = map(format_share, scaled) if series.quantity.kind == "accuracy" else rounded(scaled)
    return joint.join(texts) + (f" {unit}" if unit else "")

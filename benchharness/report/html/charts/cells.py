"""Charts with a row per cell: throughput, ratios, phases, memory, and single trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import altair as alt

from benchharness.measure.sequential import FEWEST
from benchharness.report.html.charts.chart import (
    BAR,
    DIGITS,
    FIGURE_WIDTH,
    MARKS_DOWN,
    ROW_HEIGHT,
    Chart,
    Datum,
    Drawing,
    Frame,
    axis,
    base,
    in_row,
    row_labels,
    row_texts,
    sized,
    upper_end,
    values_of,
)
from benchharness.report.html.theme import css
from benchharness.report.notes import STEADY
from benchharness.report.pairs import Family, Finding, Pair, interval_of
from benchharness.report.rows import alike, printable
from benchharness.report.summary import DISTURBED, format_ci, times_text
from benchharness.results.cells import proof_word
from benchharness.results.columns import PHASES
from benchharness.results.record import CHECKS

CELL_TIP = alt.Tooltip("name:N", title="cell")
TRIAL_TIPS = [alt.Tooltip("trial:O"), alt.Tooltip("seed:O")]
# Either side of 1 reads as so many times faster.
TIMES = "format(datum.value < 1 ? 1 / datum.value : datum.value, '.3~r') + 'x'"
# The axis shows at least this much on either side of 1, and at most so many times the medians.
NARROWEST_RATIO, LONGEST_WHISKER = 1.25, 3.0
NARROWEST_SPREAD = 1.15
# Pixels for a figure that says that the machine was busy.
BUSY_WIDTH = 230
# Either side of the median, 19 of 20 trials of a steady machine.
STEADY_BAND = 2 * STEADY
# Of the kinds of memory the metric.
MEMORY = {"host": "peak_host_bytes", "device": "peak_device_bytes"}
GIGA = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseGroup:
    """Phases that are drawn as one.

    Attributes:
        phases: Their columns.
    """

    title: str
    colour: str
    phases: tuple[str, ...]


_NAMED = (
    PhaseGroup(title="starting", colour="phase-1", phases=("startup_s", "import_s")),
    PhaseGroup(title="preparing", colour="phase-2", phases=("data_s", "build_s", "compile_s")),
    PhaseGroup(title="extracting", colour="phase-3", phases=("extract_s", "store_s")),
    PhaseGroup(title="training or feeding", colour="phase-4", phases=("train_s", "feed_s")),
    PhaseGroup(title="evaluating", colour="phase-5", phases=("evaluate_s", "test_s")),
    PhaseGroup(title="checking", colour="phase-6", phases=CHECKS),
    PhaseGroup(title="ending", colour="phase-7", phases=("save_s", "teardown_s")),
)
_REST = tuple(phase for phase in PHASES if not any(phase in group.phases for group in _NAMED))
PHASE_GROUPS = (*_NAMED, PhaseGroup(title="other", colour="phase-8", phases=_REST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """How fast the backends are on one line.

    Attributes:
        line: Its name.
        is_disturbed: Whether other processes kept the machine busy during any of the trials.
        bars: A row per backend that has a speed: the median, its interval, and where that is cut.
        trials: A row per trial of theirs.
        end: Of the axis, in images/s, or features/s.
    """

    line: str
    is_disturbed: bool
    bars: tuple[Datum, ...]
    trials: tuple[Datum, ...]
    end: float


def throughput(frame: Frame) -> list[Chart]:
    """Return a chart per line that has a speed."""
    return [
        Chart(
            name=f"throughput-{number}",
            title=speeds.line,
            caption=DISTURBED if speeds.is_disturbed else "",
            alt=f"Speed, {speeds.line}: {'; '.join(map(_bar_text, speeds.bars))}.",
            data={"bars": speeds.bars, "trials": speeds.trials},
            drawing=sized(speed_layers(speeds, frame), height=ROW_HEIGHT * len(speeds.bars)),
        )
        for number, speeds in enumerate(speeds_of(frame), start=1)
    ]


def speeds_of(frame: Frame) -> list[Speeds]:
    """Return the speeds of each line that has any."""
    lines = []
    for line in frame.rows:
        cells = [cell for cell in _timed_cells(frame) if cell[0]["line"] == line.name]
        if not cells:
            continue
        trials = tuple(
            {"row": row} | _part(trial, "backend", "trial", "seed") | {"value": trial["speed"]}
            for row, cell in enumerate(cells)
            for trial in cell
            if _has_speed(trial)
        )
        bars = _bars(cells)
        end = upper_end([row["value"] for row in trials], [row["high"] for row in bars])
        bars = [cut(bar, 0.0, end) for bar in bars]
        lines.append(
            Speeds(
                line=line.name,
                is_disturbed=any(map(_is_disturbed, cells)),
                bars=tuple(bars),
                trials=trials,
                end=end,
            )
        )
    return lines


def speed_layers(
    speeds: Speeds, frame: Frame, *, bars: str = "bars", trials: str = "trials"
) -> Drawing:
    """Return the drawing of one line.

    Args:
        bars: Name of the data set that holds ``speeds.bars``.
        trials: Of the one that holds ``speeds.trials``.
    """
    x = alt.X("value:Q", scale=alt.Scale(domain=[0, speeds.end], nice=False), axis=axis())
    rate = alt.Tooltip("value:Q", title="per second", format=DIGITS)
    bar_tips = [
        alt.Tooltip("backend:N"),
        rate,
        alt.Tooltip("low:Q", title="95 % from", format=DIGITS),
        alt.Tooltip("high:Q", title="to", format=DIGITS),
    ]
    bar = base(bars).mark_bar(height=BAR, yOffset=MARKS_DOWN, opacity=0.82)
    ends = [
        base(bars)
        .mark_tick(color=css("ink"), thickness=1.3, size=9, yOffset=MARKS_DOWN)
        .transform_filter(f"isValid(datum.{side}) && !datum.{side}_is_cut")
        .encode(x=alt.X(f"{side}:Q"), y=in_row())
        for side in ("low", "high")
    ]
    dot = base(trials).mark_point(
        filled=True, size=26, opacity=1, yOffset=MARKS_DOWN, stroke=css("paper"), strokeWidth=0.8
    )
    return alt.layer(
        bar.encode(x=x, y=in_row(), color=frame.colour(), tooltip=bar_tips),
        *intervals(bars, alt.ColorValue(css("ink")), strokeWidth=1.3),
        *ends,
        dot.encode(
            x=alt.X("value:Q"),
            y=in_row(),
            color=alt.ColorValue(css("ink")),
            shape=frame.shape(),
            tooltip=[alt.Tooltip("backend:N"), *TRIAL_TIPS, rate],
        ),
        *row_labels(bars, frame),
    )


def _bars(cells: Sequence[Sequence[Datum]]) -> list[Datum]:
    medians = [median(_speeds(cell)) for cell in cells]
    bars = []
    for row, (cell, middle, text) in enumerate(zip(cells, medians, alike(medians), strict=True)):
        interval = interval_of(_speeds(cell))
        ok = sum(trial["is_ok"] for trial in cell)
        count = f" (n={ok})" if len(cell) > 1 else ""
        busy = ", machine busy" if _is_disturbed(cell) else ""
        bars.append(
            {
                "row": row,
                "backend": cell[0]["backend"],
                "is_disturbed": _is_disturbed(cell),
                "name": f"{cell[0]['backend']}{count}{busy}",
                "value": float(middle),
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "figure": f"{text} {cell[0]['unit']}",
            }
        )
    return bars


def _bar_text(bar: Datum) -> str:
    busy = f" ({DISTURBED})" if bar["is_disturbed"] else ""
    if bar["low"] is None:
        return f"{bar['backend']} {bar['figure']}, one trial{busy}"
    low, high = alike([bar["low"], bar["high"]])
    return f"{bar['backend']} {bar['figure']}, 95 % interval {low} to {high}{busy}"


def cut(row: Datum, low: float, high: float) -> Datum:
    """Return a row with an interval, and to where that is drawn within the ends of an axis."""
    if row["low"] is None:
        drawn = {"drawn_low": None, "drawn_high": None}
        return row | drawn | {"low_is_cut": False, "high_is_cut": False}
    return row | {
        "drawn_low": max(row["low"], low),
        "drawn_high": min(row["high"], high),
        "low_is_cut": row["low"] < low,
        "high_is_cut": row["high"] > high,
    }


def intervals(data: str, color: alt.Color | alt.ColorValue, **look: Any) -> list[alt.Chart]:
    """Return the intervals of rows: a rule each, with an arrow where it is cut."""
    rule = base(data).mark_rule(yOffset=MARKS_DOWN, y2Offset=MARKS_DOWN, **look)
    arrows = [
        base(data)
        .mark_text(text=text, baseline="middle", fontSize=15, yOffset=MARKS_DOWN)
        .transform_filter(f"datum.{side}_is_cut")
        .encode(x=alt.X(f"drawn_{side}:Q"), y=in_row(), color=color)
        for side, text in (("low", "◂"), ("high", "▸"))
    ]
    ends = {"x": alt.X("drawn_low:Q"), "x2": alt.X2("drawn_high:Q")}
    return [rule.encode(y=in_row(), color=color, **ends), *arrows]


def ratios(frame: Frame) -> list[Chart]:
    """Return one chart of all ratios of speed to the first backend; none without any."""
    rows = ratios_of(frame)
    if not rows:
        return []
    first = printable(frame.backends[0])
    layers = _ratio_layers(rows, first=first)
    data = {"even": [{"value": 1}]}
    return [row_chart("ratios", f"Ratios of speed to {first}", rows, layers, data=data)]


def ratios_of(frame: Frame) -> list[Datum]:
    """Return a row per line and backend that can be compared with the first backend."""
    colours = {series.backend: series.colour for series in frame.series}
    rows: list[Datum] = []
    for line, pair, finding in _pairs_with_first(frame):
        ratio = finding.ratio
        has_winner = finding.verdict in ("faster", "slower") and proof_word(pair.proof) == "proven"
        ahead = pair.ours if ratio.log >= 0 else pair.theirs
        shown = ratio if ratio.log >= 0 else ratio.inverse
        # Two trials have an interval, and disturbed ones too, but a whisker would pass for a claim.
        has_interval = ratio.trials >= FEWEST and not finding.is_disturbed
        busy = f" ({DISTURBED})" if finding.is_disturbed else ""
        versus = f", {printable(pair.ours.backend)}" if len(frame.backends) > 2 else ""
        rows.append(
            {
                "row": len(rows),
                "line": line,
                "name": f"{line}{versus}",
                "backend": printable(pair.ours.backend),
                "measure": pair.measure.noun,
                "value": ratio.times,
                "low": ratio.low if has_interval else None,
                "high": ratio.high if has_interval else None,
                "certainty": format_ci(ratio, is_disturbed=finding.is_disturbed),
                "proof": printable(pair.proof) or "not requested",
                "figure": f"{printable(ahead.backend)} {times_text(shown)}x{busy}",
                "is_disturbed": finding.is_disturbed,
                "colour": colours[ahead.backend] if has_winner else css("even"),
            }
        )
    end = _ratio_end(rows)
    return [cut(row, 1 / end, end) for row in rows]


def _pairs_with_first(frame: Frame) -> Iterator[tuple[str, Pair, Finding]]:
    """Yield the pairs with the first backend, it as theirs."""
    family = Family.of(frame.rows)
    for line in frame.rows:
        for pair in family.pairs[line.name]:
            finding = family.finding(pair)
            if pair.ours.backend == frame.backends[0]:
                yield line.name, pair.swapped, finding.inverse
            elif pair.theirs.backend == frame.backends[0]:
                yield line.name, pair, finding


def _ratio_layers(rows: Sequence[Datum], *, first: str) -> list[alt.Chart]:
    others = dict.fromkeys(row["backend"] for row in rows)
    other = next(iter(others)) if len(others) == 1 else "the other"
    end = _ratio_end(rows)
    x = alt.X(
        "value:Q",
        scale=alt.Scale(type="log", domain=[1 / end, end], nice=False),
        axis=alt.Axis(
            title=f"◂ {first} faster  ·  {other} faster ▸",
            values=_ratio_ticks(end),
            labelExpr=TIMES,
        ),
    )
    colour = alt.Color("colour:N", scale=None)
    tips = [
        alt.Tooltip("line:N", title="benchmark"),
        alt.Tooltip("measure:N", title="of"),
        alt.Tooltip("figure:N", title="faster"),
        alt.Tooltip("certainty:N"),
        alt.Tooltip("proof:N", title="same work"),
    ]
    room = BUSY_WIDTH if any(row["is_disturbed"] for row in rows) else FIGURE_WIDTH
    point = base("cells").mark_point(filled=True, size=75, opacity=1, yOffset=MARKS_DOWN)
    return [
        base("even").mark_rule(color=css("muted"), strokeWidth=1).encode(x=x),
        *intervals("cells", colour, strokeWidth=2.5, opacity=0.55),
        point.encode(x=x, y=in_row(), color=colour, tooltip=tips),
        *row_texts("cells", indent=0, room=room),
    ]


def _ratio_end(rows: Sequence[Datum]) -> float:
    """Return the upper end of the axis; the lower is its reciprocal."""
    medians = max((max(row["value"], 1 / row["value"]) for row in rows), default=1.0)
    intervals = [max(row["high"], 1 / row["low"]) for row in rows if row["low"]]
    reach = min(max([medians, *intervals]), LONGEST_WHISKER * medians)
    return float(max(NARROWEST_RATIO, 1.08 * reach))


def _ratio_ticks(end: float) -> list[float]:
    steps = (1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000, 10_000)
    above = [step for step in steps if end**0.25 <= step <= end]
    # The farthest first; more than three a side would touch on a telephone.
    kept = above[:: -math.ceil(len(above) / 3)] if above else []
    return [*(1 / step for step in kept), 1.0, *reversed(kept)]


def phases(frame: Frame) -> list[Chart]:
    """Return one chart of where the wall time of a trial of each cell went; none without any."""
    cells = phase_totals(frame)
    if not cells:
        return []
    scale = alt.Scale(
        domain=[group.title for group in PHASE_GROUPS],
        range=[css(group.colour) for group in PHASE_GROUPS],
    )
    bars = base("parts").mark_bar(
        height=BAR, yOffset=MARKS_DOWN, stroke=css("paper"), strokeWidth=0.6
    )
    x = alt.X("seconds:Q", stack="zero", scale=alt.Scale(nice=False), axis=axis("seconds"))
    tips = [
        CELL_TIP,
        alt.Tooltip("kind:N"),
        alt.Tooltip("seconds:Q", format=DIGITS),
        alt.Tooltip("phases:N"),
    ]
    kind = alt.Color("kind:N", scale=scale, legend=None)
    layers = [
        bars.encode(y=in_row(), x=x, color=kind, order=alt.Order("order:O"), tooltip=tips),
        *row_labels("cells", frame),
    ]
    data = {"parts": phase_parts(frame)}
    return [row_chart("phases", "Seconds of a whole trial", cells, layers, data=data)]


def phase_totals(frame: Frame) -> list[Datum]:
    """Return a row per cell: the wall time of its middle trial."""
    trials = _middle_trials(frame)
    texts = alike([trial["metrics"]["wall_s"] for trial in trials])
    return [
        {"row": row, "wall_s": trial["metrics"]["wall_s"], "figure": f"{text} s"}
        | _part(trial, "name", "backend", "trial")
        for row, (trial, text) in enumerate(zip(trials, texts, strict=True))
    ]


def phase_parts(frame: Frame) -> list[Datum]:
    """Return a row per cell and group of phases, in order, those of no length left out."""
    rows = []
    for row, trial in enumerate(_middle_trials(frame)):
        metrics = trial["metrics"]
        # Stored features carry the seconds of the trial that extracted them.
        spent_before = {"extract_s"} if metrics.get("extract_reused") else set()
        for order, group in enumerate(PHASE_GROUPS):
            seconds = {
                phase: metrics[phase]
                for phase in group.phases
                if metrics.get(phase) and phase not in spent_before
            }
            if sum(seconds.values()) > 0:
                texts = (f"{name.removesuffix('_s')} {s:.3g} s" for name, s in seconds.items())
                rows.append(
                    {
                        "row": row,
                        "name": trial["name"],
                        "kind": group.title,
                        "order": order,
                        "seconds": sum(seconds.values()),
                        "phases": ", ".join(texts),
                    }
                )
    return rows


def phase_legend() -> list[tuple[str, str]]:
    """Return the groups of phases and their colours, as CSS."""
    return [(group.title, css(group.colour)) for group in PHASE_GROUPS]


def _middle_trials(frame: Frame) -> list[Datum]:
    """Return of each cell the ok trial of median wall time, the quicker of two."""
    trials = []
    for cell in frame.cells():
        timed = [row for row in cell if row["is_ok"] and row["metrics"].get("wall_s") is not None]
        timed.sort(key=lambda row: row["metrics"]["wall_s"])
        trials += timed[(len(timed) - 1) // 2 :][:1]
    return trials


def memory(frame: Frame) -> list[Chart]:
    """Return a chart for the host and one for the device, where something is known of it."""
    charts = []
    for place, metric in MEMORY.items():
        if not (cells := memory_of(frame, metric)):
            continue
        x = alt.X("value:Q", scale=alt.Scale(zero=True, nice=False), axis=axis("GB"))
        tips = [CELL_TIP, alt.Tooltip("bytes:Q", title="bytes", format=",")]
        bar = base("cells").mark_bar(height=BAR, yOffset=MARKS_DOWN, opacity=0.82)
        layers = [
            bar.encode(y=in_row(), x=x, color=frame.colour(), tooltip=tips),
            *row_labels("cells", frame),
        ]
        name, title = f"memory-{place}", f"{place.capitalize()} memory"
        charts.append(row_chart(name, f"Peak {place} memory", cells, layers, title=title))
    return charts


def memory_of(frame: Frame, metric: str) -> list[Datum]:
    """Return a row per cell that knows a metric of bytes."""
    known = [(cell[0], median(v)) for cell in frame.cells() if (v := values_of(cell, metric))]
    texts = alike([value / GIGA for _, value in known])
    return [
        {"row": row, "bytes": value, "value": value / GIGA, "figure": f"{text} GB"}
        | _part(trial, "name", "backend")
        for row, ((trial, value), text) in enumerate(zip(known, texts, strict=True))
    ]


def trials(frame: Frame) -> list[Chart]:
    """Return one chart of each trial's speed over the median of its cell; none without any."""
    cells = [cell for cell in _timed_cells(frame) if len(_speeds(cell)) > 1]
    if not cells:
        return []
    rows, labels = relative_speeds(frame), [_range_label(row, c) for row, c in enumerate(cells)]
    values = [row["value"] for row in rows if row["value"] > 0]
    end = max(NARROWEST_SPREAD, 1.05 * max(max(values), 1 / min(values)))
    scale = alt.Scale(type="log", domain=[1 / end, end], nice=False)
    ticks = alt.Axis(title=None, tickCount=5, labelExpr="format(datum.value, '.3~r') + 'x'")
    x = alt.X("value:Q", scale=scale, axis=ticks)
    tips = [CELL_TIP, *TRIAL_TIPS, alt.Tooltip("images_per_s:Q", title="per second", format=DIGITS)]
    dot = base("trials").mark_point(filled=True, size=55, opacity=0.75, yOffset=MARKS_DOWN)
    layers = [
        base("calm")
        .mark_rect(color=css("panel"))
        .encode(x=alt.X("low:Q", scale=scale, axis=ticks), x2=alt.X2("high:Q")),
        base("even").mark_rule(color=css("line")).encode(x=x),
        dot.encode(y=in_row(), x=x, color=frame.colour(), shape=frame.shape(), tooltip=tips),
        *row_labels("cells", frame, room=150),
    ]
    data = {
        "trials": rows,
        "calm": [{"low": 1 - STEADY_BAND, "high": 1 + STEADY_BAND}],
        "even": [{"value": 1}],
    }
    about = "Speed of single trials, lowest to highest"
    return [row_chart("trials", about, labels, layers, data=data)]


def relative_speeds(frame: Frame) -> list[Datum]:
    """Return a row per trial of the cells with two trials or more."""
    cells = [cell for cell in _timed_cells(frame) if len(_speeds(cell)) > 1]
    return [
        {"row": row, "images_per_s": trial["speed"], "value": trial["speed"] / middle}
        | _part(trial, "name", "backend", "trial", "seed")
        for row, cell in enumerate(cells)
        if (middle := median(_speeds(cell)))
        for trial in cell
        if _has_speed(trial)
    ]


def _range_label(row: int, cell: Sequence[Datum]) -> Datum:
    low, high = alike([min(_speeds(cell)), max(_speeds(cell))])
    figure = f"{low} to {high} {cell[0]['unit']}"
    return {"row": row, "figure": figure} | _part(cell[0], "name", "backend")


def _timed_cells(frame: Frame) -> list[list[Datum]]:
    return [cell for cell in frame.cells() if any(_speeds(cell))]


def _is_disturbed(cell: Sequence[Datum]) -> bool:
    return any(trial["is_ok"] and trial["is_disturbed"] for trial in cell)


def _has_speed(trial: Datum) -> bool:
    return trial["is_ok"] and trial["speed"] is not None


def _speeds(cell: Sequence[Datum]) -> list[float]:
    return [trial["speed"] for trial in cell if _has_speed(trial)]


def row_chart(
    name: str,
    about: str,
    cells: Sequence[Datum],
    layers: Sequence[alt.Chart],
    *,
    title: str = "",
    data: Mapping[str, Sequence[Datum]] | None = None,
) -> Chart:
    """Return a chart with a row per cell, its colours scaled layer by layer.

    Args:
        about: What its figures are, for those who do not see it.
        cells: With ``row``, ``name`` and ``figure``; the data set ``cells``.
        data: More data sets.
    """
    figures = "; ".join(f"{cell['name']} {cell['figure']}" for cell in cells)
    return Chart(
        name=name,
        title=title,
        alt=f"{about}: {figures}.",
        data={"cells": cells} | dict(data or {}),
        drawing=sized(
            alt.layer(*layers).resolve_scale(color="independent"), height=ROW_HEIGHT * len(cells)
        ),
    )


def _part(row: Mapping[str, Any], *names: str) -> Datum:
    return {name: row[name] for name in names}

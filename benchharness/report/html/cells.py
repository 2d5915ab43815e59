"""Charts with a row per cell: throughput, ratios, phases, memory, and single trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import altair as alt

from benchharness.measure.sequential import FEWEST
from benchharness.report.html.chart import (
    BAR,
    FIGURE_WIDTH,
    MARKS_DOWN,
    ROW_HEIGHT,
    Chart,
    Datum,
    Drawing,
    Frame,
    axis,
    base,
    names_of,
    picked,
    row_mark,
    row_texts,
    tips,
)
from benchharness.report.html.theme import css, series_of
from benchharness.report.notes import STEADY
from benchharness.report.pairs import Family, interval_of
from benchharness.report.rows import Row, printable, rounded, speed_metric
from benchharness.report.summary import DISTURBED, format_ci, times_text
from benchharness.results.cells import Cell, proof_word
from benchharness.results.columns import PHASES
from benchharness.results.comparisons import host_of
from benchharness.results.record import CHECKS, Record

# With two trials an interval may reach a million times as far as the bar; it is cut then.
LONGEST_INTERVAL = 1.6
# Either side of 1 reads as so many times faster.
TIMES = "format(datum.value < 1 ? 1 / datum.value : datum.value, '.3~r') + 'x'"
# The axis shows at least this much on either side of 1, and at most so many times the medians.
NARROWEST_RATIO, LONGEST_WHISKER = 1.25, 3.0
RATIO_TICKS = (1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000, 10_000)
NARROWEST_SPREAD = 1.15
# Pixels for a figure that says that the machine was busy.
BUSY_WIDTH = 230
# Either side of the median, 19 of 20 trials of a steady machine.
STEADY_BAND = 2 * STEADY
GIGA = 1e9


class PhaseGroup(NamedTuple):
    """Phases, by their columns, that are drawn as one."""

    title: str
    colour: str
    phases: tuple[str, ...]


_NAMED = (
    PhaseGroup("starting", "phase-1", ("startup_s", "import_s")),
    PhaseGroup("preparing", "phase-2", ("data_s", "build_s", "compile_s")),
    PhaseGroup("extracting", "phase-3", ("extract_s", "store_s")),
    PhaseGroup("training or feeding", "phase-4", ("train_s", "feed_s")),
    PhaseGroup("evaluating", "phase-5", ("evaluate_s", "test_s")),
    PhaseGroup("checking", "phase-6", CHECKS),
    PhaseGroup("ending", "phase-7", ("save_s", "teardown_s")),
)
_REST = tuple(phase for phase in PHASES if not any(phase in group.phases for group in _NAMED))
PHASE_GROUPS = (*_NAMED, PhaseGroup("other", "phase-8", _REST))


def throughput(frame: Frame) -> list[Chart]:
    """Return a chart per row of the table that has a speed: medians, intervals, single trials."""
    charts: list[Chart] = []
    for row in frame.rows:
        cells = [cell for cell in row.recorded if _is_timed(cell)]
        if not cells:
            continue
        trials = [
            {"row": place, "value": speed}
            | picked(trial | names_of(row, cell), "backend", "trial", "seed")
            for place, cell in enumerate(cells)
            for trial, speed in _speeds(cell)
        ]
        bars = _bars(cells)
        largest = max(trial["value"] for trial in trials)
        reach = max([largest, *(bar["high"] for bar in bars if bar["high"] is not None)])
        end = min(reach, LONGEST_INTERVAL * largest)
        number = len(charts) + 1
        charts.append(
            Chart(
                name=f"throughput-{number}",
                title=row.name,
                caption=DISTURBED if any(bar["is_disturbed"] for bar in bars) else "",
                alt=f"Speed, {row.name}: {'; '.join(map(_bar_text, bars))}.",
                # Names of their own, because the main chart holds them all.
                data={
                    f"bars-{number}": [_cut(bar, 0.0, end) for bar in bars],
                    f"trials-{number}": trials,
                },
                drawing=_speed_layers(frame, f"bars-{number}", f"trials-{number}", end=end),
                height=ROW_HEIGHT * len(bars),
            )
        )
    return charts


def _speed_layers(frame: Frame, bars: str, trials: str, *, end: float) -> Drawing:
    x = alt.X("value:Q", scale=alt.Scale(domain=[0, end], nice=False), axis=axis())
    ink = alt.ColorValue(css("ink"))
    ends = [
        row_mark(bars, "tick", color=css("ink"), thickness=1.3, size=9)
        .transform_filter(f"isValid(datum.{side}) && !datum.{side}_is_cut")
        .encode(x=alt.X(f"{side}:Q"))
        for side in ("low", "high")
    ]
    dot = row_mark(
        trials, "point", filled=True, size=26, opacity=1, stroke=css("paper"), strokeWidth=0.8
    )
    return alt.layer(
        row_mark(bars, "bar", height=BAR, opacity=0.82).encode(
            x=x,
            tooltip=tips(backend="N", value="Q per second", low="Q 95 % from", high="Q to"),
            **frame.look(has_shape=False),
        ),
        *_intervals(bars, ink, strokeWidth=1.3),
        *ends,
        dot.encode(
            x="value:Q",
            tooltip=tips(backend="N", trial="O", seed="O", value="Q per second"),
            **frame.look() | {"color": ink},
        ),
        *row_texts(bars, frame),
    )


def _bars(cells: Sequence[Cell]) -> list[Datum]:
    medians = [float(median(speed for _, speed in _speeds(cell))) for cell in cells]
    bars = []
    for row, (cell, middle, text) in enumerate(zip(cells, medians, rounded(medians), strict=True)):
        backend, is_disturbed = printable(cell.backend), bool(cell.disturbed)
        trials, speeds = zip(*_speeds(cell), strict=True)
        interval = interval_of(speeds, list(map(host_of, trials)))
        count = f" (n={len(cell.ok)})" if len(cell.trials) > 1 else ""
        bars.append(
            {
                "row": row,
                "backend": backend,
                "is_disturbed": is_disturbed,
                "name": f"{backend}{count}{', machine busy' if is_disturbed else ''}",
                "value": middle,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "figure": f"{text} {cell.speed_unit}",
            }
        )
    return bars


def _bar_text(bar: Datum) -> str:
    interval = "one trial"
    if bar["low"] is not None:
        interval = f"95 % interval {' to '.join(rounded([bar['low'], bar['high']]))}"
    busy = f" ({DISTURBED})" if bar["is_disturbed"] else ""
    return f"{bar['backend']} {bar['figure']}, {interval}{busy}"


def _cut(row: Datum, low: float, high: float) -> Datum:
    """Return a row with an interval, and to where that is drawn within the ends of an axis."""
    is_known = row["low"] is not None
    return row | {
        "drawn_low": max(row["low"], low) if is_known else None,
        "drawn_high": min(row["high"], high) if is_known else None,
        "low_is_cut": is_known and row["low"] < low,
        "high_is_cut": is_known and row["high"] > high,
    }


def _intervals(data: str, color: alt.Color | alt.ColorValue, **look: Any) -> list[alt.Chart]:
    """Return the intervals of rows: a rule each, with an arrow where it is cut."""
    rule = row_mark(data, "rule", y2Offset=MARKS_DOWN, **look)
    arrows = [
        row_mark(data, "text", text=text, baseline="middle", fontSize=15)
        .transform_filter(f"datum.{side}_is_cut")
        .encode(x=alt.X(f"drawn_{side}:Q"), color=color)
        for side, text in (("low", "◂"), ("high", "▸"))
    ]
    ends = {"x": "drawn_low:Q", "x2": "drawn_high:Q"}
    return [rule.encode(color=color, **ends), *arrows]


def ratios(frame: Frame) -> list[Chart]:
    """Return one chart of all ratios of speed to the first backend; none without any."""
    rows = ratios_of(frame)
    if not rows:
        return []
    first = printable(frame.backends[0])
    others = {row["backend"] for row in rows}
    other = others.pop() if len(others) == 1 else "the other"
    end = _ratio_end(rows)
    above = [tick for tick in RATIO_TICKS if end**0.25 <= tick <= end]
    # The farthest first; more than three a side would touch on a telephone.
    above = above[:: -math.ceil(len(above) / 3)] if above else []
    ticks = [*(1 / tick for tick in above), 1.0, *reversed(above)]
    title = f"◂ {first} faster  ·  {other} faster ▸"
    x = alt.X(
        "value:Q",
        scale=alt.Scale(type="log", domain=[1 / end, end], nice=False),
        axis=alt.Axis(title=title, values=ticks, labelExpr=TIMES),
    )
    colour = alt.Color("colour:N", scale=None)
    words = tips(
        line="N benchmark", measure="N of", figure="N faster", certainty="N", proof="N same work"
    )
    room = BUSY_WIDTH if any(row["is_disturbed"] for row in rows) else FIGURE_WIDTH
    point = row_mark("cells", "point", filled=True, size=75, opacity=1)
    layers = [
        base("even").mark_rule(color=css("muted"), strokeWidth=1).encode(x=x),
        *_intervals("cells", colour, strokeWidth=2.5, opacity=0.55),
        point.encode(x=x, color=colour, tooltip=words),
        *row_texts("cells", None, room=room),
    ]
    data = {"even": [{"value": 1}]}
    return [_row_chart("ratios", f"Ratios of speed to {first}", rows, layers, data=data)]


def ratios_of(frame: Frame) -> list[Datum]:
    """Return a row per line and backend that can be compared with the first backend."""
    colours = {style.backend: style.colour for style in series_of(frame.backends)}
    family = Family.of(frame.rows)
    rows: list[Datum] = []
    for line, pair in ((line, pair) for line, pairs in family.pairs.items() for pair in pairs):
        finding = family.finding(pair)
        if pair.a.backend == frame.backends[0]:
            pair, finding = pair.swapped, finding.inverse
        elif pair.b.backend != frame.backends[0]:
            continue
        ratio = finding.ratio
        has_winner = finding.verdict in ("faster", "slower") and proof_word(pair.proof) == "proven"
        ahead = pair.a if ratio.log >= 0 else pair.b
        shown = ratio if ratio.log >= 0 else ratio.inverse
        # Two trials have an interval, and disturbed ones too, but a whisker would pass for a claim.
        has_interval = ratio.trials >= FEWEST and not finding.is_disturbed
        busy = f" ({DISTURBED})" if finding.is_disturbed else ""
        versus = f", {printable(pair.a.backend)}" if len(frame.backends) > 2 else ""
        rows.append(
            {
                "row": len(rows),
                "line": line,
                "name": f"{line}{versus}",
                "backend": printable(pair.a.backend),
                "measure": pair.measure.noun,
                "value": ratio.times,
                "low": ratio.low if has_interval else None,
                "high": ratio.high if has_interval else None,
                "certainty": format_ci(shown, is_disturbed=finding.is_disturbed),
                "proof": printable(pair.proof) or "not requested",
                "figure": f"{printable(ahead.backend)} {times_text(shown)}x{busy}",
                "verdict": "winner" if has_winner else "no winner named",
                "is_disturbed": finding.is_disturbed,
                "colour": colours[ahead.backend] if has_winner else css("even"),
            }
        )
    end = _ratio_end(rows)
    return [_cut(row, 1 / end, end) for row in rows]


def _ratio_end(rows: Sequence[Datum]) -> float:
    """Return the upper end of the axis; the lower is its reciprocal."""
    medians = max((max(row["value"], 1 / row["value"]) for row in rows), default=1.0)
    intervals = [max(row["high"], 1 / row["low"]) for row in rows if row["low"]]
    reach = min(max([medians, *intervals]), LONGEST_WHISKER * medians)
    return float(max(NARROWEST_RATIO, 1.08 * reach))


def phases(frame: Frame) -> list[Chart]:
    """Return one chart of where the wall time of a trial of each cell went; none without any."""
    cells, parts = phases_of(frame)
    if not cells:
        return []
    titles, colours = zip(*phase_legend(), strict=True)
    scale = alt.Scale(domain=list(titles), range=list(colours))
    layers = [
        row_mark("parts", "bar", height=BAR, stroke=css("paper"), strokeWidth=0.6).encode(
            x=alt.X("seconds:Q", stack="zero", scale=alt.Scale(nice=False), axis=axis("seconds")),
            color=alt.Color("kind:N", scale=scale, legend=None),
            order="order:O",
            tooltip=tips(name="N cell", kind="N", seconds="Q", phases="N"),
        ),
        *row_texts("cells", frame),
    ]
    return [_row_chart("phases", "Seconds of a whole trial", cells, layers, data={"parts": parts})]


def phases_of(frame: Frame) -> tuple[list[Datum], list[Datum]]:
    """Return a row per cell, and one per group of its phases, those of no length left out.

    They are those of the ok trial of median wall time, the quicker of two.
    """
    trials: list[Datum] = []
    for row, cell in frame.cells:
        timed = [trial for trial in cell.ok if trial["metrics"].get("wall_s") is not None]
        timed.sort(key=lambda trial: trial["metrics"]["wall_s"])
        trials += [trial | names_of(row, cell) for trial in timed[(len(timed) - 1) // 2 :][:1]]
    cells = _figures([(trial, trial["metrics"]["wall_s"]) for trial in trials], "s")
    parts = []
    for place, trial in enumerate(trials):
        metrics = trial["metrics"]
        # Stored features carry the seconds of the trial that extracted them.
        spent_before = {"extract_s"} if metrics.get("extract_reused") else set()
        for order, group in enumerate(PHASE_GROUPS):
            known = (phase for phase in group.phases if phase not in spent_before)
            seconds = {phase: metrics[phase] for phase in known if metrics.get(phase)}
            if (total := sum(seconds.values())) > 0:
                texts = (f"{name.removesuffix('_s')} {s:.3g} s" for name, s in seconds.items())
                parts.append(
                    {"row": place, "name": trial["name"], "kind": group.title, "order": order}
                    | {"seconds": total, "phases": ", ".join(texts)}
                )
    return cells, parts


def phase_legend() -> list[tuple[str, str]]:
    """Return the groups of phases and their colours, as CSS."""
    return [(group.title, css(group.colour)) for group in PHASE_GROUPS]


def memory(frame: Frame) -> list[Chart]:
    """Return a chart for the host and one for the device, where something is known of it."""
    charts = []
    for place in ("host", "device"):
        if not (cells := memory_of(frame, f"peak_{place}_bytes")):
            continue
        layers = [
            row_mark("cells", "bar", height=BAR, opacity=0.82).encode(
                x=alt.X("value:Q", scale=alt.Scale(zero=True, nice=False), axis=axis("GB")),
                tooltip=tips(name="N cell", bytes="Q, bytes"),
                **frame.look(has_shape=False),
            ),
            *row_texts("cells", frame),
        ]
        name, about, title = f"memory-{place}", f"Peak {place} memory", f"{place.title()} memory"
        charts.append(_row_chart(name, about, cells, layers, title=title))
    return charts


def memory_of(frame: Frame, metric: str) -> list[Datum]:
    """Return a row per cell that knows a metric of bytes."""
    known = [
        (cell.trials[0] | names_of(row, cell) | {"bytes": size}, size / GIGA)
        for row, cell in frame.cells
        if (size := cell.median(metric)) is not None
    ]
    return _figures(known, "GB", "bytes")


def trials(frame: Frame) -> list[Chart]:
    """Return one chart of each trial's speed over the median of its cell; none without any."""
    rows = relative_speeds(frame)
    if not rows:
        return []
    labels = []
    for place, (row, cell) in enumerate(_repeated(frame)):
        speeds = [speed for _, speed in _speeds(cell)]
        ends = " to ".join(rounded([min(speeds), max(speeds)]))
        figure = {"row": place, "figure": f"{ends} {cell.speed_unit}"}
        labels.append(figure | picked(names_of(row, cell), "name", "backend"))
    values = [row["value"] for row in rows if row["value"] > 0]
    end = max(NARROWEST_SPREAD, 1.05 * max(*values, 1 / min(values)))
    across: dict[str, Any] = {
        "scale": alt.Scale(type="log", domain=[1 / end, end], nice=False),
        "axis": alt.Axis(title=None, tickCount=5, labelExpr="format(datum.value, '.3~r') + 'x'"),
    }
    x = alt.X("value:Q", **across)
    words = tips(name="N cell", trial="O", seed="O", images_per_s="Q per second")
    layers = [
        base("calm").mark_rect(color=css("panel")).encode(x=alt.X("low:Q", **across), x2="high:Q"),
        base("even").mark_rule(color=css("line")).encode(x=x),
        row_mark("trials", "point", filled=True, size=55, opacity=0.75).encode(
            x=x, tooltip=words, **frame.look()
        ),
        *row_texts("cells", frame, room=150),
    ]
    data = {
        "trials": rows,
        "calm": [{"low": 1 - STEADY_BAND, "high": 1 + STEADY_BAND}],
        "even": [{"value": 1}],
    }
    about = "Speed of single trials, lowest to highest"
    return [_row_chart("trials", about, labels, layers, data=data)]


def relative_speeds(frame: Frame) -> list[Datum]:
    """Return a row per trial of the cells with two trials or more."""
    return [
        {"row": place, "images_per_s": speed, "value": speed / middle}
        | picked(trial | names_of(row, cell), "name", "backend", "trial", "seed")
        for place, (row, cell) in enumerate(_repeated(frame))
        if (middle := median(speed for _, speed in _speeds(cell)))
        for trial, speed in _speeds(cell)
    ]


def _repeated(frame: Frame) -> list[tuple[Row, Cell]]:
    """Return the cells in which several trials have a speed."""
    return [(row, cell) for row, cell in frame.cells if _is_timed(cell) and len(_speeds(cell)) > 1]


def _is_timed(cell: Cell) -> bool:
    return any(speed for _, speed in _speeds(cell))


def _speeds(cell: Cell) -> list[tuple[Record, float]]:
    """Return the ok trials of a cell that have a speed, and that."""
    metric = speed_metric(cell)
    known = ((trial, trial["metrics"].get(metric)) for trial in cell.ok)
    return [(trial, speed) for trial, speed in known if speed is not None]


def _figures(known: Sequence[tuple[Datum, float]], unit: str, *names: str) -> list[Datum]:
    """Return rows of cells with a value each, and its figure for people."""
    texts = rounded([value for _, value in known])
    return [
        {"row": row, "value": value, "figure": f"{text} {unit}"}
        | picked(trial, "name", "backend", "trial", *names)
        for row, ((trial, value), text) in enumerate(zip(known, texts, strict=True))
    ]


def _row_chart(
    name: str,
    about: str,
    cells: Sequence[Datum],
    layers: Sequence[alt.Chart],
    *,
    title: str = "",
    data: Mapping[str, Sequence[Datum]] | None = None,
) -> Chart:
    """Return a chart with a row per cell, its colours scaled layer by layer.

    The data set ``cells`` has ``row``, ``name`` and ``figure``; ``about`` names the figures.
    """
    figures = "; ".join(
        ", ".join(filter(None, (f"{cell['name']} {cell['figure']}", cell.get("verdict"))))
        for cell in cells
    )
    return Chart(
        name=name,
        title=title,
        alt=f"{about}: {figures}.",
        data={"cells": cells, **(data or {})},
        drawing=alt.layer(*layers).resolve_scale(color="independent"),
        height=ROW_HEIGHT * len(cells),
    )

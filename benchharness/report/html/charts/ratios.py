"""How many times as fast each backend is as the first, with what chance allows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import altair as alt

from benchharness.measure.sequential import FEWEST
from benchharness.report.comparisons import DISTURBED, Finding, certainty, times_text
from benchharness.report.html.charts import rows
from benchharness.report.html.charts.chart import Chart, Drawing, Row, Section, source
from benchharness.report.html.theme import Series, css
from benchharness.report.pairs import Pair
from benchharness.report.rows import Line, printable
from benchharness.report.summary import Family, measure_of
from benchharness.results.cells import proof_word

DATA, EVEN = "ratios", "even"
# Either side of 1 reads as so many times faster.
TIMES = "format(datum.value < 1 ? 1 / datum.value : datum.value, '.3~r') + 'x'"
# The axis shows at least this much on either side of 1, and at most so many times the medians.
NARROWEST, ROOM = 1.25, 3.0
# Pixels for a figure that says that the machine was busy.
BUSY_ROOM = 230


def section(
    lines: Sequence[Line], backends: Sequence[str], series: Sequence[Series]
) -> Section | None:
    """Return one chart of all ratios; None where nothing can be compared."""
    found = ratios_of(lines, backends, series)
    if not found:
        return None
    anchor = printable(backends[0])
    chart = Chart(
        name="ratios",
        title="",
        alt=f"Ratios of speed to {anchor}: "
        + "; ".join(f"{one['name']} {one['figure']}" for one in found)
        + ".",
        data={DATA: found, EVEN: [{"value": 1}]},
        drawing=drawing(found, anchor=anchor),
    )
    return Section(
        name="ratios",
        title=f"Speed against {anchor}",
        short="Ratios",
        text=f"How many times as fast as {anchor}, to the target where one is stated and reached, "
        "on a logarithmic scale; whiskers are 95 % intervals over paired trials. In colour where a "
        "winner can be named; grey where chance, a busy machine or a missing proof forbids it.",
        charts=[chart],
    )


def ratios_of(
    lines: Sequence[Line], backends: Sequence[str], series: Sequence[Series]
) -> list[Row]:
    """Return a row per line and backend that can be compared with the first backend."""
    looks = {one.backend: one.colour for one in series}
    found: list[Row] = []
    for line, pair, finding in _pairs(lines, backends):
        ratio = finding.ratio
        is_winner = finding.verdict in ("faster", "slower")
        is_said = is_winner and proof_word(pair.proof) == "proven"
        ahead = pair.ours if ratio.log >= 0 else pair.theirs
        shown = ratio if ratio.log >= 0 else ratio.inverse
        # Two trials have an interval, and disturbed ones too, but a whisker would pass for a claim.
        has_interval = ratio.trials >= FEWEST and not finding.is_disturbed
        busy = f" ({DISTURBED})" if finding.is_disturbed else ""
        versus = f", {printable(pair.ours.backend)}" if len(backends) > 2 else ""
        found.append(
            {
                "row": len(found),
                "line": line.name,
                "name": f"{line.name}{versus}",
                "backend": printable(pair.ours.backend),
                "measure": measure_of(pair).noun,
                "value": ratio.times,
                "low": ratio.low if has_interval else None,
                "high": ratio.high if has_interval else None,
                "certainty": certainty(ratio, is_disturbed=finding.is_disturbed),
                "proof": printable(pair.proof) or "not asked",
                "figure": f"{printable(ahead.backend)} {times_text(shown)}x{busy}",
                "is_disturbed": finding.is_disturbed,
                "colour": looks[ahead.backend] if is_said else css("even"),
            }
        )
    return _cut(found)


def drawing(found: Sequence[Row], *, anchor: str) -> Drawing:
    """Return the drawing of all ratios to one backend."""
    others = dict.fromkeys(one["backend"] for one in found)
    ahead = next(iter(others)) if len(others) == 1 else "the other"
    sides = f"◂ {anchor} faster  ·  {ahead} faster ▸"
    end = _end(found)
    scale = alt.Scale(type="log", domain=[1 / end, end], nice=False)
    axis = alt.Axis(title=sides, values=_ticks(end), labelExpr=TIMES)
    x = alt.X("value:Q", scale=scale, axis=axis)
    y, down = rows.place(), rows.MARKS_DOWN
    colour = alt.Color("colour:N", scale=None)
    tip = [
        alt.Tooltip("line:N", title="benchmark"),
        alt.Tooltip("measure:N", title="of"),
        alt.Tooltip("figure:N", title="faster"),
        alt.Tooltip("certainty:N"),
        alt.Tooltip("proof:N", title="same work"),
    ]
    room = BUSY_ROOM if any(one["is_disturbed"] for one in found) else rows.ROOM
    base = alt.Chart(source(DATA))
    even = alt.Chart(source(EVEN)).mark_rule(color=css("muted"), strokeWidth=1)
    whisker = base.mark_rule(strokeWidth=2.5, opacity=0.55, yOffset=down, y2Offset=down)
    arrows = [
        base.mark_text(text=text, baseline="middle", fontSize=15, yOffset=down)
        .transform_filter(f"datum.{side}_is_cut")
        .encode(x=alt.X(f"drawn_{side}:Q"), y=y, color=colour)
        for side, text in (("low", "◂"), ("high", "▸"))
    ]
    point = base.mark_point(filled=True, size=75, opacity=1, yOffset=down)
    return alt.layer(
        even.encode(x=x),
        whisker.encode(x=alt.X("drawn_low:Q"), x2=alt.X2("drawn_high:Q"), y=y, color=colour),
        *arrows,
        point.encode(x=x, y=y, color=colour, tooltip=tip),
        rows.names(DATA, indent=0, room=room),
        rows.figures(DATA),
    ).properties(width="container", height=rows.height(len(found)))


def _pairs(lines: Sequence[Line], backends: Sequence[str]) -> Iterator[tuple[Line, Pair, Finding]]:
    """Yield the pairs with the first backend, it as theirs."""
    family = Family.of(lines)
    for line in lines:
        for pair in family.pairs[line.name]:
            finding = family.finding(pair)
            if pair.ours.backend == backends[0]:
                yield line, pair.swapped, finding.inverse
            elif pair.theirs.backend == backends[0]:
                yield line, pair, finding


def _cut(found: list[Row]) -> list[Row]:
    end = _end(found)
    for one in found:
        is_known = one["low"] is not None
        one["drawn_low"] = max(one["low"], 1 / end) if is_known else None
        one["drawn_high"] = min(one["high"], end) if is_known else None
        one["low_is_cut"] = is_known and one["low"] < 1 / end
        one["high_is_cut"] = is_known and one["high"] > end
    return found


def _end(found: Sequence[Row]) -> float:
    """Return the upper end of the axis; the lower is its reciprocal."""
    medians = max((max(one["value"], 1 / one["value"]) for one in found), default=1.0)
    intervals = [
        max(one["high"], 1 / one["low"])
        for one in found
        if one["low"] is not None and one["low"] > 0
    ]
    reach = min(max([medians, *intervals]), ROOM * medians)
    return float(max(NARROWEST, 1.08 * reach))


def _ticks(end: float) -> list[float]:
    steps = (1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000, 10_000)
    above = [step for step in steps if end**0.25 <= step <= end]
    # The farthest first; more than three a side would touch on a telephone.
    kept = above[:: -math.ceil(len(above) / 3)] if above else []
    return [*(1 / step for step in kept), 1.0, *reversed(kept)]

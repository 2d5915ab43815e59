"""Pages for a browser: the report of a run and a history, each as one file that fetches nothing.

Beside the report stands its main chart alone, as SVG and PNG.
"""

from __future__ import annotations

import base64
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import chain
from typing import Any, NamedTuple

import altair as alt
import jinja2
import vl_convert
from jinja2.utils import htmlsafe_json_dumps

from benchharness import __version__
from benchharness.fairness.settings import decides_work, differences
from benchharness.history.history import History
from benchharness.report import history as history_texts
from benchharness.report.html import cells, curves, theme
from benchharness.report.html.chart import Chart, Frame
from benchharness.report.plugins import PAGE
from benchharness.report.rows import STATUS_WORDS, UNKNOWN, Row, printable
from benchharness.report.table import Report
from benchharness.results.cells import proof_word
from benchharness.results.record import Record, with_one_peak
from benchharness.results.tables import TABLES, csv_text

# A page may draw and style itself, and fetch nothing. Vega compiles its expressions.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "img-src data:; base-uri 'none'; form-action 'none'"
)
LICENCE = "/* Vega, Vega-Lite and Vega-Embed, with their dependencies: BSD 3-Clause and MIT. */"
CSV_FILES = {
    "trials.csv": "a row per trial, all metrics",
    "epochs.csv": "a row per epoch of every trial",
    "summary.csv": "a row per cell, medians over its trials",
}
MOODS = {
    "proven": "good",
    "partial": "bad",
    "not comparable": "bad",
    "missed": "bad",
    "differ": "warn",
    **dict.fromkeys(STATUS_WORDS.values(), "bad"),
}
REFERENCE = "reference"
# So many powers of ten below its tolerance, a difference has no bar left.
DECADES = 6
GIGA = 1e9
SVG, PNG = "chart.svg", "chart.png"
# Of the main chart: pixels, characters in a line of text, and how much finer the PNG is.
WIDTH, CHARACTERS, SCALE = 720, 124, 2
FONT_SIZE = 17
# A certificate as the template shows it.
Proof = Mapping[str, Any]
# Sections of charts, from top to bottom.
CHARTS: Mapping[str, Callable[[Frame], list[Chart]]] = {
    "throughput": cells.throughput,
    "ratios": cells.ratios,
    "learning": curves.learning,
    "accuracy": curves.accuracy,
    "phases": cells.phases,
    "memory": cells.memory,
    "trials": cells.trials,
}


def report_files(report: Report, certificates: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the page and the charts by name; no charts where nothing has a speed to show.

    ``certificates`` is the content of certificate.json.
    """
    spec = poster(report)
    svg = vl_convert.vegalite_to_svg(spec) if spec else ""
    page = report_page(report, certificates, vega=vega_bundle(), poster=svg)
    charts = {SVG: svg.encode(), PNG: vl_convert.svg_to_png(svg, scale=SCALE)} if svg else {}
    return {PAGE: page.encode(), **charts}


def poster(report: Report) -> dict[str, Any]:
    """Return the main chart as Vega-Lite takes it, in the light theme; empty without speeds.

    What was run, where and on what is part of it: a picture is sent on without its page.
    """
    data: dict[str, Any] = {}
    panels = []
    for chart in cells.throughput(Frame(report.rows, report.backends)):
        data |= chart.data
        title = alt.TitleParams(
            text=f"{chart.title} ({chart.caption})" if chart.caption else chart.title,
            subtitle=_wrapped([a.said for a in report.answers if a.subject == chart.title]),
            offset=8,
        )
        panels.append(chart.drawing.properties(width=WIDTH, height=chart.height, title=title))
    if not panels:
        return {}
    overall = [f"{a.subject}: {a.said}" for a in report.answers if a.is_overall]
    legend = "images per second: medians, single trials, 95 % intervals"
    title = alt.TitleParams(
        text=report.heading,
        subtitle=_wrapped([report.setting, report.inputs, *overall, legend]),
        fontSize=FONT_SIZE,
        offset=16,
    )
    drawing = alt.vconcat(*panels, spacing=26).resolve_scale(x="independent", y="independent")
    spec: dict[str, Any] = drawing.properties(title=title).to_dict(validate=False)
    whole = {"background": theme.css("paper"), "padding": 24, "autosize": "pad"}
    spec |= {"datasets": data, "config": theme.config(font=theme.STATIC_FONT) | whole}
    light: dict[str, Any] = theme.in_light(spec)
    return light


def report_page(
    report: Report, certificates: Mapping[str, Any], *, vega: str, poster: str = ""
) -> str:
    """Return the report of a run, with its main chart as SVG for readers without scripts.

    ``certificates`` is the content of certificate.json, ``vega`` that of ``vega_bundle``.
    """
    rows, backends = report.rows, report.backends
    proofs, groups = proofs_of(certificates), report.groups(is_detailed=True)
    charts = charts_of(Frame(rows, backends))
    resolved = report.run.get("resolved")
    shown = json.dumps(resolved, indent=1, ensure_ascii=False, default=str) if resolved else ""
    return _render(
        "page.html",
        kind="report",
        title=report.heading,
        drawn=chain(*charts.values()),
        vega=vega,
        charts=charts,
        report=report,
        version=printable(report.run.get("benchharness") or __version__),
        series=[(printable(series.backend), series) for series in theme.series_of(backends)],
        groups=groups,
        rows=[
            # Nobody expects native rows to do the same work, so their verdict is no bad news.
            (row.label, anchor_of(row, proofs), row.recorded[0].track == "native")
            for row in rows
        ],
        moods=MOODS,
        legend=report.legend(groups) if rows else [],
        steady_band=f"{cells.STEADY_BAND:.0%}",
        phases=cells.phase_legend(),
        proofs=proofs,
        settings=settings_of(rows, backends),
        facts=facts_of(report.run, rows),
        resolved=shown,
        downloads=_downloads(report.records) if report.records else [],
        poster=poster,
    )


def charts_of(frame: Frame) -> dict[str, list[Chart]]:
    """Return the charts of each section that has something to show."""
    return {name: charts for name, make in CHARTS.items() if (charts := make(frame))}


def history_page(history: History, *, vega: str) -> str:
    """Return the page of a suite over time; ``vega`` is the script of ``vega_bundle``."""
    charts = [
        curves.timeline(series, name=f"series-{number}")
        for number, series in enumerate(history.series, start=1)
    ]
    return _render(
        "history.html",
        kind="history",
        title=f"History of {printable(history.source)}",
        drawn=charts,
        vega=vega,
        charts=charts,
        version=__version__,
        history=history,
        printable=printable,
        texts=history_texts,
    )


@cache
def vega_bundle() -> str:
    """Return Vega-Embed with all that it needs; it defines ``vegaEmbed``."""
    code: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # A browser ends the script at the first such tag, even inside a string.
    return f"{LICENCE}\n{code}".replace("</script", "<\\/script")


def embedded(content: Any) -> str:
    """Return JSON that is safe within a script element, whatever names it holds."""
    return str(htmlsafe_json_dumps(content, allow_nan=False, separators=(",", ":")))


def _render(name: str, *, drawn: Iterable[Chart], vega: str, **content: Any) -> str:
    """Return a template filled in; no name in it acts as markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("benchharness.report.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates = resources.files(__package__) / "templates"
    specs = {chart.name: chart.as_dict() for chart in drawn}
    return environment.get_template(name).render(
        policy=POLICY,
        colours=theme.properties(),
        style=(templates / "page.css").read_text(encoding="utf-8"),
        script=(templates / "page.js").read_text(encoding="utf-8"),
        specs=embedded({"config": theme.config(), "charts": specs}),
        vega=vega,
        **content,
    )


def _downloads(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the CSV files of a run, byte for byte as in its folder, as links to themselves."""
    downloads, records = [], with_one_peak(records)
    for name, rows in TABLES.items():
        content = csv_text(rows(records)).encode()
        href = f"data:text/csv;charset=utf-8;base64,{base64.b64encode(content).decode('ascii')}"
        facts = {"name": name, "meaning": CSV_FILES[name], "href": href, "size": len(content)}
        downloads.append(facts)
    return downloads


def _wrapped(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in textwrap.wrap(text, CHARACTERS)]


class Setting(NamedTuple):
    """One effective setting with its value for each backend.

    ``kind`` is ``work`` where it differs and decides the work, ``speed`` where it differs and does
    not, ``same`` where all backends that report it agree. ``where`` names the rows that have these
    values; it is empty for all that report any.
    """

    name: str
    values: Sequence[str]
    kind: str
    where: str


def proofs_of(certificates: Mapping[str, Any]) -> list[Proof]:
    """Return the certificates of a run, by the content of its certificate.json."""
    meanings = {stage["name"]: stage["meaning"] for stage in certificates.get("tolerances", ())}
    proofs: list[Proof] = []
    for number, certificate in enumerate(certificates.get("certificates", ()), start=1):
        a, b = certificate["backends"]
        point = "".join(f" {setting}={value}" for setting, value in certificate["matrix"].items())
        # Of a merged run, or of one on several kinds of machine.
        made = certificate.get("source") or certificate.get("machine")
        where = f" ({made})" if made else ""
        pairs = ((a, b), (a, REFERENCE), (b, REFERENCE))
        names = {a: printable(a), b: printable(b), REFERENCE: "float64"}
        by_stage: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}
        for finding in certificate["stages"]:
            by_stage.setdefault(finding["stage"], {})[tuple(finding["between"])] = finding
        stages = [
            {
                "name": name,
                "meaning": meanings.get(name, ""),
                "limit": f"{next(iter(findings.values()))['tolerance']:g}",
                "differences": [_difference(findings.get(pair)) for pair in pairs],
            }
            for name, findings in by_stage.items()
        ]
        proofs.append(
            {
                "anchor": f"proof-{number}",
                "title": printable(f"{certificate['benchmark']}{point}, {a} and {b}{where}"),
                "point": (certificate["benchmark"], certificate["matrix"]),
                "machine": certificate.get("machine") or "",
                "verdict": printable(certificate["verdict"]),
                "word": proof_word(certificate["verdict"]),
                "columns": [f"{names[a]} - {names[b]}" for a, b in pairs],
                "stages": stages,
                "deviations": list(map(printable, certificate.get("deviations", ()))),
            }
        )
    return proofs


def anchor_of(row: Row, proofs: Sequence[Proof]) -> str:
    """Return where the page shows a row's first certificate that is not proven, or its first."""
    cell = row.recorded[0]
    if cell.track != "equal":
        return ""
    point, machines = (cell.benchmark, cell.matrix), ("", cell.machine)
    own = [proof for proof in proofs if proof["point"] == point and proof["machine"] in machines]
    return min(own, key=lambda proof: proof["word"] == "proven")["anchor"] if own else ""


def _difference(finding: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a distance, and its share of the way to the tolerance, 0-1 on a logarithmic scale."""
    if finding is None:
        return {"text": UNKNOWN, "fill": 0.0, "is_within": True}
    off, limit = finding["off"], finding["tolerance"]
    if off is None:
        text, fill = "of another kind", 1.0
    elif off > 0 and limit > 0:
        text, fill = f"{off:.1e}", min(1.0, max(0.0, 1 + math.log10(off / limit) / DECADES))
    else:
        text, fill = f"{off:.1e}" if off else "0", float(off > limit)
    return {"text": text, "fill": fill, "is_within": finding["within"]}


def settings_of(rows: Sequence[Row], backends: Sequence[str]) -> list[Setting]:
    """Return every effective setting of a run, one where several rows of the table share it."""
    places: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for row in rows:
        known = row.effective
        differing = {difference.setting for difference in differences(known)}
        for name in dict.fromkeys(chain(*known.values())):
            values = (known.get(backend, {}).get(name) for backend in backends)
            texts = tuple(UNKNOWN if v is None else printable(v) or "nothing" for v in values)
            kind = "same" if name not in differing else "work" if decides_work(name) else "speed"
            places.setdefault((printable(name), texts, kind), []).append(row.name)
    reporting = set(chain(*places.values()))
    settings = [
        Setting(*setting, where="" if len(names) == len(reporting) else ", ".join(names))
        for setting, names in places.items()
    ]
    return sorted(settings, key=lambda setting: ("work", "speed", "same").index(setting.kind))


def facts_of(
    run: Mapping[str, Any], rows: Sequence[Row]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what is known of machine, software, data and weights, by heading."""
    known = run.get("environment") or {}
    load = ", ".join(f"{value:.2f}" for value in known.get("load_average") or ())
    memory = known.get("memory_bytes")
    machine = [
        ("device", run.get("device")),
        ("processor", known.get("cpu")),
        ("usable cores", known.get("cores")),
        ("memory", f"{memory / GIGA:.1f} GB" if memory else ""),
        *(
            ("accelerator", _joined(facts) if isinstance(facts, Mapping) else facts)
            for facts in known.get("accelerators") or ()
        ),
        ("system", " ".join(filter(None, (known.get("system"), known.get("machine"))))),
        ("load before the run", f"{load} (over 1, 5, 15 minutes)" if load else ""),
    ]
    python = " ".join(filter(None, (known.get("implementation"), known.get("python"))))
    software = [("python", python), *(known.get("packages") or {}).items()]
    frameworks: dict[str, dict[str, None]] = {}
    for cell in (cell for row in rows for cell in row.recorded):
        if versions := cell.trials[-1].get("versions"):
            frameworks.setdefault(cell.backend, {})[_joined(versions)] = None
    software += [(f"backend {name}", "; ".join(texts)) for name, texts in frameworks.items()]
    for backend, environment in (run.get("environments") or {}).items():
        python = f"python {environment.get('python')}, digest {environment.get('digest')}"
        requirements = ", ".join(environment.get("requirements") or ())
        parts = (requirements, python, _joined(environment.get("packages") or {}))
        software.append((f"environment of {backend}", "; ".join(filter(None, parts))))
    dataset, weights = run.get("dataset") or {}, run.get("weights") or {}
    classes = dataset.get("classes") or ()
    skipped = sum(len(part.get("skipped") or ()) for part in dataset.get("slices") or ())
    is_random = weights.get("is_random")
    inputs = [
        ("data", dataset.get("origin") or dataset.get("name")),
        ("classes", f"{len(classes)}: {', '.join(map(printable, classes))}" if classes else ""),
        ("unreadable images skipped", skipped or ""),
        ("digest of the data", dataset.get("digest")),
        ("weights", "random" if is_random else weights.get("origin")),
        ("why random", weights.get("reason") if is_random else ""),
        ("digest of the weights", weights.get("digest")),
    ]
    headings = {"Machine": machine, "Software": software, "Data and weights": inputs}
    return [
        (heading, [(printable(n), printable(v)) for n, v in facts if v not in (None, "")])
        for heading, facts in headings.items()
    ]


def _joined(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)

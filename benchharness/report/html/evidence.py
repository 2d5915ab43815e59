"""Evidence for the page: certificates, effective settings, and where the run took place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.fairness.settings import decides_work, differences
from benchharness.report.rows import UNKNOWN, Row, printable
from benchharness.results.cells import proof_word

Fact = tuple[str, str]
REFERENCE = "reference"
# So many powers of ten below its tolerance, a difference has no bar left.
DECADES = 6
GIGA = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far two sides are apart at one stage.

    Attributes:
        text: For people; ``-`` where the two were not compared.
        fill: Share of the way to the tolerance, 0-1, on a logarithmic scale.
    """

    text: str = "-"
    fill: float = 0.0
    is_within: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One row of a certificate.

    Attributes:
        limit: The tolerance, for people.
        differences: In the order of the certificate's columns.
    """

    name: str
    meaning: str
    limit: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One certificate.

    Attributes:
        anchor: Its identifier in the page.
        title: Benchmark, point of the matrix and backends.
        benchmark: With ``matrix``, what it is about.
        columns: Headings of the differences.
        deviations: Where a backend reports something else than the specification states.
    """

    anchor: str
    title: str
    benchmark: str
    matrix: Mapping[str, Any]
    verdict: str
    word: str
    columns: tuple[str, ...]
    stages: tuple[Stage, ...]
    deviations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One effective setting with its values.

    Attributes:
        values: A text per backend, in the page's order.
        where: The rows that have these values; empty for all that report any.
        kind: ``work`` where it differs and decides the work, ``speed`` where it differs and does
            not, ``same`` where all backends that report it agree.
    """

    name: str
    values: tuple[str, ...]
    where: str
    kind: str


def proofs_of(certificates: Mapping[str, Any]) -> list[Proof]:
    """Return the certificates of a run.

    Args:
        certificates: Content of certificate.json; empty where no proof was requested.
    """
    meanings = {stage["name"]: stage["meaning"] for stage in certificates.get("tolerances", ())}
    return [
        _proof(certificate, meanings, anchor=f"proof-{number}")
        for number, certificate in enumerate(certificates.get("certificates", ()), start=1)
    ]


def anchor_of(row: Row, proofs: Sequence[Proof]) -> str:
    """Return where the page shows a row's first certificate that is not proven, or its first."""
    cell = row.recorded[0]
    if cell.track != "equal":
        return ""
    point = (cell.benchmark, dict(cell.matrix))
    own = [proof for proof in proofs if (proof.benchmark, dict(proof.matrix)) == point]
    return min(own, key=lambda proof: proof.word == "proven").anchor if own else ""


def _proof(certificate: Mapping[str, Any], meanings: Mapping[str, str], *, anchor: str) -> Proof:
    ours, theirs = certificate["backends"]
    point = "".join(f" {setting}={value}" for setting, value in certificate["matrix"].items())
    pairs = ((ours, theirs), (ours, REFERENCE), (theirs, REFERENCE))
    names = {ours: printable(ours), theirs: printable(theirs), REFERENCE: "float64"}
    return Proof(
        anchor=anchor,
        title=printable(f"{certificate['benchmark']}{point}, {ours} and {theirs}"),
        benchmark=certificate["benchmark"],
        matrix=certificate["matrix"],
        verdict=printable(certificate["verdict"]),
        word=proof_word(certificate["verdict"]),
        columns=tuple(f"{names[a]} - {names[b]}" for a, b in pairs),
        stages=tuple(_stages(certificate["stages"], pairs, meanings)),
        deviations=tuple(map(printable, certificate.get("deviations", ()))),
    )


def _stages(
    findings: Sequence[Mapping[str, Any]],
    pairs: Sequence[tuple[str, str]],
    meanings: Mapping[str, str],
) -> Iterator[Stage]:
    for name in dict.fromkeys(finding["stage"] for finding in findings):
        by_pair = {tuple(f["between"]): f for f in findings if f["stage"] == name}
        yield Stage(
            name=name,
            meaning=meanings.get(name, ""),
            limit=f"{next(iter(by_pair.values()))['tolerance']:g}",
            differences=tuple(_difference(by_pair.get(pair)) for pair in pairs),
        )


def _difference(finding: Mapping[str, Any] | None) -> Difference:
    if finding is None:
        return Difference()
    off, limit, is_within = finding["off"], finding["tolerance"], finding["within"]
    if off is None:
        return Difference(text="of another kind", fill=1.0, is_within=is_within)
    if off > 0 and limit > 0:
        fill = min(1.0, max(0.0, 1 + math.log10(off / limit) / DECADES))
    else:
        fill = float(off > limit)
    return Difference(text=f"{off:.1e}" if off else "0", fill=fill, is_within=is_within)


def settings_of(rows: Sequence[Row], backends: Sequence[str]) -> list[Setting]:
    """Return every effective setting of a run, one where several rows of the table share it."""
    places: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for row in rows:
        for setting in _settings_of_line(row, backends):
            places.setdefault(setting, []).append(row.name)
    reporting = {name for names in places.values() for name in names}
    settings = [
        Setting(
            name=name,
            values=values,
            kind=kind,
            where="" if len(names) == len(reporting) else ", ".join(names),
        )
        for (name, values, kind), names in places.items()
    ]
    return sorted(settings, key=lambda setting: ("work", "speed", "same").index(setting.kind))


def _settings_of_line(
    row: Row, backends: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    reported = {cell.backend: cell.trials[-1].get("effective") or {} for cell in row.recorded}
    known = {backend: settings for backend, settings in reported.items() if settings}
    differing = (
        {difference.setting for difference in differences(known)} if len(known) > 1 else set()
    )
    for name in dict.fromkeys(name for settings in known.values() for name in settings):
        values = (known.get(backend, {}).get(name) for backend in backends)
        texts = tuple(UNKNOWN if v is None else printable(v) or "nothing" for v in values)
        kind = "same" if name not in differing else "work" if decides_work(name) else "speed"
        yield printable(name), texts, kind


def facts_of(run: Mapping[str, Any], rows: Sequence[Row]) -> list[tuple[str, list[Fact]]]:
    """Return what is known of machine, software, data and weights, by heading."""
    return [
        (heading, [(printable(n), printable(v)) for n, v in facts if v not in (None, "")])
        for heading, facts in (
            ("Machine", _machine(run)),
            ("Software", _software(run, rows)),
            ("Data and weights", _inputs(run)),
        )
    ]


def _machine(run: Mapping[str, Any]) -> list[tuple[str, Any]]:
    known = run.get("environment") or {}
    load = ", ".join(f"{value:.2f}" for value in known.get("load_average") or ())
    memory = known.get("memory_bytes")
    return [
        ("device", run.get("device")),
        ("processor", known.get("cpu")),
        ("usable cores", known.get("cores")),
        ("memory", f"{memory / GIGA:.1f} GB" if memory else None),
        *(("accelerator", _flat(facts)) for facts in known.get("accelerators") or ()),
        ("system", " ".join(filter(None, (known.get("system"), known.get("machine"))))),
        ("load before the run", f"{load} (over 1, 5, 15 minutes)" if load else None),
    ]


def _software(run: Mapping[str, Any], rows: Sequence[Row]) -> list[tuple[str, Any]]:
    known = run.get("environment") or {}
    python = " ".join(filter(None, (known.get("implementation"), known.get("python"))))
    frameworks: dict[str, dict[str, None]] = {}
    for row in rows:
        for cell in row.recorded:
            if versions := cell.trials[-1].get("versions"):
                frameworks.setdefault(cell.backend, {})[_versions(versions)] = None
    return [
        ("python", python),
        *(known.get("packages") or {}).items(),
        *((f"backend {backend}", "; ".join(texts)) for backend, texts in frameworks.items()),
        *(
            (f"environment of {backend}", _environment(environment))
            for backend, environment in (run.get("environments") or {}).items()
        ),
    ]


def _environment(environment: Mapping[str, Any]) -> str:
    requirements = ", ".join(environment.get("requirements") or ())
    python = f"python {environment.get('python')}, digest {environment.get('digest')}"
    packages = _versions(environment.get("packages") or {})
    return "; ".join(filter(None, (requirements, python, packages)))


def _inputs(run: Mapping[str, Any]) -> list[tuple[str, Any]]:
    dataset, weights = run.get("dataset") or {}, run.get("weights") or {}
    classes = dataset.get("classes") or ()
    skipped = sum(len(part.get("skipped") or ()) for part in dataset.get("slices") or ())
    is_random = weights.get("is_random")
    return [
        ("data", dataset.get("origin") or dataset.get("name")),
        ("classes", f"{len(classes)}: {', '.join(map(printable, classes))}" if classes else ""),
        ("unreadable images skipped", skipped or None),
        ("digest of the data", dataset.get("digest")),
        ("weights", "random" if is_random else weights.get("origin")),
        ("why random", weights.get("reason") if is_random else None),
        ("digest of the weights", weights.get("digest")),
    ]


def _versions(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _flat(facts: Any) -> str:
    if not isinstance(facts, Mapping):
        return str(facts)
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)

"""Certificates for the page: every stage with its distances, held against the tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.report.rows import Line, printable
from benchharness.results.cells import proof_word

REFERENCE = "reference"
# So many powers of ten below its tolerance, a distance has no bar left.
DECADES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
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
        distances: In the order of the certificate's columns.
    """

    name: str
    meaning: str
    limit: str
    distances: tuple[Distance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One certificate.

    Attributes:
        anchor: Its identifier in the page.
        title: Benchmark, point of the matrix and backends.
        benchmark: With ``matrix`` and ``backends``, what it is about.
        columns: Headings of the distances.
        deviations: What a backend says of itself otherwise than stated.
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


def proofs_of(certificates: Mapping[str, Any]) -> list[Proof]:
    """Return the certificates of a run.

    Args:
        certificates: Content of certificate.json; empty where nobody asked for a proof.
    """
    stages = {stage["name"]: stage["meaning"] for stage in certificates.get("tolerances", ())}
    return [
        _proof(certificate, stages, anchor=f"proof-{number}")
        for number, certificate in enumerate(certificates.get("certificates", ()), start=1)
    ]


def anchor_of(line: Line, proofs: Sequence[Proof]) -> str:
    """Return where the page shows a line's first certificate that is not proven, or its first."""
    cell = line.recorded[0]
    own = [
        proof
        for proof in proofs
        if cell.track == "equal"
        and proof.benchmark == cell.benchmark
        and dict(proof.matrix) == dict(cell.matrix)
    ]
    own.sort(key=lambda proof: proof.word == "proven")
    return own[0].anchor if own else ""


def _proof(certificate: Mapping[str, Any], meanings: Mapping[str, str], *, anchor: str) -> Proof:
    one, other = certificate["backends"]
    point = "".join(f" {setting}={value}" for setting, value in certificate["matrix"].items())
    pairs = ((one, other), (one, REFERENCE), (other, REFERENCE))
    names = {one: printable(one), other: printable(other), REFERENCE: "float64"}
    return Proof(
        anchor=anchor,
        title=printable(f"{certificate['benchmark']}{point}, {one} and {other}"),
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
        own = {tuple(one["between"]): one for one in findings if one["stage"] == name}
        limit = next(iter(own.values()))["tolerance"]
        yield Stage(
            name=name,
            meaning=meanings.get(name, ""),
            limit=f"{limit:g}",
            distances=tuple(_distance(own.get(pair)) for pair in pairs),
        )


def _distance(finding: Mapping[str, Any] | None) -> Distance:
    if finding is None:
        return Distance()
    off, limit, is_within = finding["off"], finding["tolerance"], finding["within"]
    if off is None:
        return Distance(text="of another kind", fill=1.0, is_within=is_within)
    text = f"{off:.1e}" if off else "0"
    return Distance(text=text, fill=_fill(off, limit), is_within=is_within)


def _fill(off: float, limit: float) -> float:
    if off <= 0 or limit <= 0:
        return float(off > limit)
    return min(1.0, max(0.0, 1 + math.log10(off / limit) / DECADES))

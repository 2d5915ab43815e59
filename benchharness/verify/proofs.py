"""Verification of certificates: verdicts from figures, and of records from certificates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchharness import __version__
from benchharness.fairness.certificate import amended, overall
from benchharness.fairness.tolerances import STAGES
from benchharness.model.cell import cell_key, cell_label
from benchharness.results.cells import proof_word, record_key
from benchharness.results.record import Record
from benchharness.verify.findings import Findings
from benchharness.verify.trials import place

# Stages whose distance a verdict says in words.
_IN_WORDS = ("counts", "coverage")
# Without these no training is proven.
_TRAINING = ("counts", "weights", "logits", "loss", "gradients", "losses", "movement")
_NATIVE = "not comparable: native track"
_SETTING = re.compile(r"settings \((.*?)\)(?=, settings \(|, ledger \(|$)")


def check_certificates(
    content: Mapping[str, Any], run: Mapping[str, Any], findings: Findings
) -> None:
    """Compare the verdict of each certificate with its figures, tolerances and stages."""
    version = run.get("benchharness")
    cells = (run.get("resolved") or {}).get("cells", ())
    training = {cell["benchmark"] for cell in cells if cell["strategy"] != "dataset"}
    stated = {stage["name"]: stage for stage in content["tolerances"]}
    if version == __version__:
        for stage in STAGES:
            if known := stated.get(stage.name):
                # A stricter one, as in some older versions, proves no less.
                largest = max(stage.tolerance, stage.deep or 0.0)
                if max(known["tolerance"], known["deep"] or 0.0) > largest:
                    at = f"certificate.json: tolerance of stage {stage.name}"
                    findings.add(at, f"at most {largest:g}", known)
    else:
        findings.skip(f"tolerances of the stages, which are those of benchharness {version}")
    for certificate in content["certificates"]:
        a, b = certificate["backends"]
        point = cell_label(certificate["benchmark"], certificate["matrix"], "equal")
        where = f"certificate.json: {point}, {a} and {b}"
        with findings.reading(where):
            _check_certificate(certificate, stated, where, findings)
            pairs = [s["stage"] for s in certificate["stages"] if s["between"] == [a, b]]
            needed = {"labels", *(_TRAINING if certificate["benchmark"] in training else ())}
            is_compared = proof_word(certificate["verdict"]) != "not comparable"
            if is_compared and (missing := sorted(needed.difference(pairs))):
                findings.add(f"{where}: stages", ", ".join(missing), "none")


def _check_certificate(
    certificate: Mapping[str, Any],
    stated: Mapping[str, Mapping[str, Any]],
    where: str,
    findings: Findings,
) -> None:
    verdict, exceeded = certificate["verdict"], dict[str, list[Mapping[str, Any]]]()
    for stage in certificate["stages"]:
        at = f"{where}: {stage['stage']}, {' and '.join(stage['between'])}"
        is_within = stage["off"] is not None and stage["off"] <= stage["tolerance"]
        findings.compare(f"{at}: within", is_within, stage["within"])
        limits = [stated[stage["stage"]].get(name) for name in ("tolerance", "deep")]
        if stage["tolerance"] not in limits:
            findings.add(f"{at}: tolerance", limits[0], stage["tolerance"])
        if not is_within:
            exceeded.setdefault(stage["stage"], []).append(stage)
    expected = "partial" if exceeded or certificate["deviations"] else "proven"
    if not certificate["stages"] or "counts" in exceeded:
        expected = "not comparable"
    findings.compare(f"{where}: verdict", expected, proof_word(verdict))
    if expected == proof_word(verdict) == "partial":
        named = {name for name in stated if re.search(rf"(^|[:,] ){name} \(", verdict)}
        findings.compare(f"{where}: stages of the verdict", sorted(exceeded), sorted(named))
        for name, sides in exceeded.items():
            figures = [f"{side['off']:.1e}" for side in sides if side["off"] is not None]
            if name not in _IN_WORDS and figures and not any(text in verdict for text in figures):
                findings.add(f"{where}: verdict on {name}", " or ".join(figures), verdict)


def check_proofs(
    records: Sequence[Record],
    certificates: Sequence[Mapping[str, Any]],
    run: Mapping[str, Any],
    findings: Findings,
) -> None:
    """Compare the verdicts in records with the certificates and with each trial's ledger."""
    verdicts: dict[object, dict[str, str]] = {}
    for certificate in certificates:
        for backend, other in (certificate["backends"], certificate["backends"][::-1]):
            key = cell_key(certificate["benchmark"], certificate["matrix"], "equal", backend)
            made = certificate.get("source"), certificate.get("machine"), key
            verdicts.setdefault(made, {})[other] = certificate["verdict"]
    rivals: dict[object, list[str]] = {}
    for cell in (run.get("resolved") or {}).get("cells", ()):
        line = cell_key(cell["benchmark"], cell["matrix"], cell["track"])
        rivals.setdefault(line, []).append(cell["backend"])
    for record in records:
        where, recorded = place(record), record.get("proofs") or {}
        if record["track"] != "equal":
            findings.compare(f"{where}: proof", _NATIVE, record["proof"])
            continue
        source, key = record.get("source"), record_key(record)
        # Certificates of a cluster are those of a kind of machine.
        of_machine = verdicts.get((source, record.get("machine"), key), {})
        known = verdicts.get((source, None, key)) or of_machine
        ledger = (record.get("ledger") or {}).get("verdict", "as planned")
        strays = [] if ledger == "as planned" else [f"ledger ({ledger})"]
        for other in {**known, **recorded}:
            # What a backend reported of its settings only ever takes from a verdict.
            settings = [f"settings ({text})" for text in _SETTING.findall(recorded.get(other, ""))]
            expected = amended(known[other], [*settings, *strays]) if other in known else None
            findings.compare(f"{where}: proof against {other}", expected, recorded.get(other))
        if backends := rivals.get(cell_key(record["benchmark"], record["matrix"], "equal")):
            expected = overall(recorded, anchor=backends[0])
            findings.compare(f"{where}: proof", expected, record.get("proof") or "")

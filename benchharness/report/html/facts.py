"""Machine, software, data and weights of a run, as pairs of a name and what there is to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchharness.report.rows import Line, printable

Fact = tuple[str, str]
GIGA = 1e9


def machine_of(run: Mapping[str, Any]) -> list[Fact]:
    """Return what is known of the machine."""
    found = run.get("environment") or {}
    load = ", ".join(f"{value:.2f}" for value in found.get("load_average") or ())
    memory = found.get("memory_bytes")
    facts = [
        ("device", run.get("device")),
        ("processor", found.get("cpu")),
        ("cores that could be used", found.get("cores")),
        ("memory", f"{memory / GIGA:.1f} GB" if memory else None),
        *(("accelerator", _flat(one)) for one in found.get("accelerators") or ()),
        ("system", " ".join(filter(None, (found.get("system"), found.get("machine"))))),
        ("load before the run", f"{load} (over 1, 5, 15 minutes)" if load else None),
    ]
    return _known(facts)


def software_of(run: Mapping[str, Any], lines: Sequence[Line]) -> list[Fact]:
    """Return the versions of the interpreter, the packages and the frameworks."""
    found = run.get("environment") or {}
    python = " ".join(filter(None, (found.get("implementation"), found.get("python"))))
    packages = found.get("packages") or {}
    apart = _environments(run.get("environments") or {})
    return _known([("python", python), *packages.items(), *_frameworks(lines), *apart])


def inputs_of(run: Mapping[str, Any]) -> list[Fact]:
    """Return where data and weights come from, with their digests."""
    dataset, weights = run.get("dataset") or {}, run.get("weights") or {}
    classes = dataset.get("classes") or ()
    skipped = sum(len(part.get("skipped") or ()) for part in dataset.get("slices") or ())
    return _known(
        [
            ("data", dataset.get("origin") or dataset.get("name")),
            ("classes", f"{len(classes)}: {', '.join(map(printable, classes))}" if classes else ""),
            ("unreadable images left out", skipped or None),
            ("digest of the data", dataset.get("digest")),
            ("weights", "random" if weights.get("is_random") else weights.get("origin")),
            ("why random", weights.get("reason") if weights.get("is_random") else None),
            ("digest of the weights", weights.get("digest")),
        ]
    )


def _frameworks(lines: Sequence[Line]) -> Iterator[Fact]:
    """Yield what each backend says it ran with, said once."""
    told: dict[str, dict[str, None]] = {}
    for line in lines:
        for cell in line.recorded:
            versions = cell.trials[-1].get("versions") or {}
            if versions:
                text = ", ".join(f"{name} {version}" for name, version in versions.items())
                told.setdefault(cell.backend, {})[text] = None
    for backend, texts in told.items():
        yield f"backend {backend}", "; ".join(texts)


def _environments(found: Mapping[str, Any]) -> Iterator[Fact]:
    """Yield what is in the environments of backends that have one of their own."""
    for backend, one in found.items():
        asked = ", ".join(one.get("requirements") or ())
        packages = ", ".join(f"{name} {v}" for name, v in (one.get("packages") or {}).items())
        head = f"python {one.get('python')}, digest {one.get('digest')}"
        yield f"environment of {backend}", "; ".join(filter(None, (asked, head, packages)))


def _flat(facts: Any) -> str:
    if not isinstance(facts, Mapping):
        return str(facts)
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)


def _known(facts: Sequence[tuple[str, Any]]) -> list[Fact]:
    return [(printable(name), printable(value)) for name, value in facts if value not in (None, "")]

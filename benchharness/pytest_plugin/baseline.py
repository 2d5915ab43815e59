"""A saved run of pytest-benchmark, held against what runs now: where they may be compared."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Info = Mapping[str, Any]
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a file of pytest-benchmark holds of ours.

    Attributes:
        name: Of the file.
        benchmarks: What it tells of each, ``extra_info`` by full name.
    """

    name: str
    benchmarks: Mapping[str, Info]

    @classmethod
    def of(cls, path: object, benchmarks: Mapping[str, Info]) -> Baseline:
        """Return it from a file as pytest-benchmark has loaded it, by full name."""
        infos = {name: one.get("extra_info") or {} for name, one in benchmarks.items()}
        return cls(
            name=short(str(path)),
            benchmarks={name: one for name, one in infos.items() if is_ours(one)},
        )

    def machines(self) -> set[str]:
        """Return the machines that it was taken on."""
        return {info["machine"] for info in self.benchmarks.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Names that one side has and the other has not.

    Attributes:
        renamed: New name to the old one that is nearest.
    """

    renamed: Mapping[str, str]
    new: tuple[str, ...]
    missing: tuple[str, ...]


def short(path: str) -> str:
    """Return the name of a file as pytest-benchmark's table has it."""
    return path.rsplit("/", maxsplit=1)[-1].removesuffix(".json")[:_SHOWN]


def is_ours(info: Info) -> bool:
    """Return whether a benchmark's ``extra_info`` was written by us."""
    return "benchharness" in info


def is_cell(info: Info) -> bool:
    """Return whether a benchmark is a cell of a suite, which is there each time."""
    return info.get("kind") == "cell"


def changes(now: Iterable[str], then: Iterable[str]) -> Changes:
    """Return which names have come and gone.

    Args:
        now: Names that have no namesake in the baseline.
        then: Names of the baseline that have no namesake now.
    """
    left, renamed, new = list(then), {}, []
    for name in now:
        near = difflib.get_close_matches(name, left, n=1)
        if near:
            renamed[name] = near[0]
            left.remove(near[0])
        else:
            new.append(name)
    return Changes(renamed=renamed, new=tuple(new), missing=tuple(left))


def differences(now: Info, then: Info) -> list[str]:
    """Return what forbids to compare two times, but for the machine; none where nothing does."""
    return [
        *_scalar("device", now, then),
        *_content("dataset", now, then),
        *_content("weights", now, then),
        *_scalar("precision", now, then),
        *_settings("settings", now.get("settings"), then.get("settings")),
        *_settings("backend options", now.get("options"), then.get("options")),
    ]


def versions_in_words(now: Info, then: Info) -> str:
    """Return which versions have changed, on one line; empty where none has."""
    ours, theirs = now.get("versions") or {}, then.get("versions") or {}
    return ", ".join(
        f"{name} {theirs.get(name, 'none')} then, {ours.get(name, 'none')} now"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    )


def _scalar(key: str, now: Info, then: Info) -> Iterator[str]:
    # What a fixture's benchmark never states is equal on both sides.
    if now.get(key) != then.get(key):
        yield _expected(key, then.get(key), now.get(key))


def _content(key: str, now: Info, then: Info) -> Iterator[str]:
    ours, theirs = now.get(key) or {}, then.get(key) or {}
    if ours.get("digest") != theirs.get("digest"):
        yield _expected(key, _named(theirs), _named(ours))


def _named(content: Info) -> str:
    return f"{content['name']} {content['digest'][:12]}" if content else "none"


def _settings(what: str, now: Info | None, then: Info | None) -> Iterator[str]:
    ours, theirs = now or {}, then or {}
    changed = [
        f"{key} {theirs.get(key)} then, {ours.get(key)} now"
        for key in sorted({*ours, *theirs} - {"precision"})
        if ours.get(key) != theirs.get(key)
    ]
    if changed:
        yield f"{what}: expected those of the baseline, found others: {', '.join(changed)}"


def _expected(what: str, then: object, now: object) -> str:
    return f"{what}: expected {then}, as in the baseline, found {now}"


def listed(names: Sequence[str], *, most: int = 3) -> str:
    """Return some names on one line, the rest by number."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

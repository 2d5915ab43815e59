"""From a TOML file to a suite: the only door."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchharness.errors import Problem, SuiteError
from benchharness.suite.checks import problems_of
from benchharness.suite.file import SuiteFile
from benchharness.suite.text import place
from benchharness.text import did_you_mean, quote

PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
DEEPEST = 20
LARGEST = 2**63 - 1


def load(path: Path) -> SuiteFile:
    """Return the suite of a file.

    Raises:
        SuiteError: It cannot be read, or says something that is not understood. All its problems
            are in the error.
    """
    return build(read(path), path=path)


def build(document: Mapping[str, Any], *, path: Path) -> SuiteFile:
    """Return the suite of a parsed document.

    Args:
        document: As TOML gives it.
        path: The file it is from, which paths inside are relative to.

    Raises:
        SuiteError: It says something that is not understood.
    """
    problems = problems_of(document)
    if problems:
        raise SuiteError(str(path), problems)
    return SuiteFile.model_validate(document, context={"path": path})


def read(path: Path) -> dict[str, Any]:
    """Return the document of a TOML file; a byte order mark and Windows line ends are no matter.

    Raises:
        SuiteError: There is no such file, or it is not TOML.
    """
    text = _text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(str(path), [_syntax_problem(error, text)]) from error
    # tomllib recurses into nested lists, and leaves numbers of many digits to int().
    except (RecursionError, ValueError) as error:
        raise SuiteError(str(path), [_excess("a value")]) from error
    if problem := _excess_in(document):
        raise SuiteError(str(path), [problem])
    return document


def _text(path: Path) -> str:
    """Return the text of a file."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise SuiteError(str(path), [_unreadable(path, error)]) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem(
            where=f"line {line}",
            expected="UTF-8 text",
            found=f"the byte 0x{data[error.start]:02x}",
            hint="save the file as UTF-8",
        )
        raise SuiteError(str(path), [problem]) from error


def _unreadable(path: Path, error: OSError | ValueError) -> Problem:
    """Return why a file cannot be read, with the file that was perhaps meant."""
    reason = error.strerror if isinstance(error, OSError) else "a name that no file can have"
    siblings = [file.name for file in path.parent.glob("*.toml")] if path.parent.is_dir() else []
    return Problem(
        where="file",
        expected="a suite in TOML",
        found=(reason or "an unreadable file").lower(),
        hint=did_you_mean(path.name, siblings),
    )


def _syntax_problem(error: tomllib.TOMLDecodeError, text: str) -> Problem:
    """Return where the text stops being TOML, and why."""
    reason = str(error)
    spot = PLACE.search(reason)
    why = PLACE.sub("", reason)
    # Cut by hand: splitlines() would also cut at characters that TOML does not count as ends.
    lines = text.replace("\r\n", "\n").split("\n")
    if spot is None or spot[1] is None:
        return Problem(where="end of file", expected="TOML", found="an unfinished text", hint=why)
    line = lines[int(spot[1]) - 1].strip()
    where = f"line {spot[1]}, column {spot[2]}"
    return Problem(where=where, expected="TOML", found=quote(line), hint=why)


def _excess(where: str) -> Problem:
    """Return the problem of what no suite needs and no reader follows."""
    return Problem(
        where=where,
        expected=f"numbers of 64 bits and at most {DEEPEST} levels of tables and lists",
        found="more",
    )


def _excess_in(document: Mapping[str, Any]) -> Problem | None:
    """Return the first number past 64 bits or table past the deepest level, None for neither."""
    open_values: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while open_values:
        at, value = open_values.pop()
        if len(at) > DEEPEST or (isinstance(value, int) and abs(value) > LARGEST):
            return _excess(place(at[:3], document))
        if isinstance(value, dict):
            open_values += [((*at, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            open_values += [((*at, index), item) for index, item in enumerate(value)]
    return None

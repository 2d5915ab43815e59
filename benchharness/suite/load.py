"""TOML files, read as suites."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchharness.errors import Problem, SuiteError
from benchharness.suite.errors import KeyPath, format_path
from benchharness.suite.file import SuiteFile
from benchharness.suite.validate import problems_of
from benchharness.text import did_you_mean, quote

POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
DEEPEST = 20
LARGEST = 2**63 - 1


def load(path: Path) -> SuiteFile:
    """Return the suite of a file.

    Raises:
        SuiteError: It cannot be read, or says something that is not understood. All its problems
            are in the error.
    """
    document = _read(path)
    if problems := problems_of(document):
        raise SuiteError(str(path), problems)
    return SuiteFile.model_validate(document, context={"path": path})


def _read(path: Path) -> dict[str, Any]:
    """Return the document of a TOML file, with or without byte order mark and Windows line ends."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a name that no file can have"
        folder = path.parent
        siblings = [file.name for file in folder.glob("*.toml")] if folder.is_dir() else []
        problem = Problem(
            where="file",
            expected="a suite in TOML",
            found=(reason or "an unreadable file").lower(),
            hint=did_you_mean(path.name, siblings),
        )
        raise SuiteError(str(path), [problem]) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem(
            where=f"line {line}",
            expected="UTF-8 text",
            found=f"the byte 0x{data[error.start]:02x}",
            hint="save the file as UTF-8",
        )
        raise SuiteError(str(path), [problem]) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(str(path), [_syntax_problem(error, text)]) from error
    # tomllib recurses into nested lists, and leaves numbers of many digits to int().
    except (RecursionError, ValueError) as error:
        raise SuiteError(str(path), [_excess("a value")]) from error
    if excess := _excess_in(document):
        raise SuiteError(str(path), [excess])
    return document


def _syntax_problem(error: tomllib.TOMLDecodeError, text: str) -> Problem:
    """Return where the text stops being TOML, and why."""
    position = POSITION.search(str(error))
    reason = POSITION.sub("", str(error))
    if position is None or position[1] is None:
        return Problem(
            where="end of file", expected="TOML", found="an unfinished text", hint=reason
        )
    # Cut by hand: splitlines() would also cut at characters that TOML does not count as ends.
    line = text.replace("\r\n", "\n").split("\n")[int(position[1]) - 1].strip()
    where = f"line {position[1]}, column {position[2]}"
    return Problem(where=where, expected="TOML", found=quote(line), hint=reason)


def _excess(where: str) -> Problem:
    return Problem(
        where=where,
        expected=f"numbers of 64 bits and at most {DEEPEST} levels of tables and lists",
        found="more",
    )


def _excess_in(document: Mapping[str, Any]) -> Problem | None:
    """Return the first number past 64 bits or table past the deepest level, None for neither."""
    open_values: list[tuple[KeyPath, Any]] = [((), document)]
    while open_values:
        at, value = open_values.pop()
        if len(at) > DEEPEST or (isinstance(value, int) and abs(value) > LARGEST):
            return _excess(format_path(at[:3], document))
        if isinstance(value, dict):
            open_values += [((*at, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            open_values += [((*at, index), item) for index, item in enumerate(value)]
    return None

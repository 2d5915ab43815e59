"""Throws generated suites at ``benchharness run --dry-run``: valid ones, and broken in every way.

``python tools/fuzz_suites.py --count 10000`` takes the project's own suites and changes tables,
keys, values and bytes. Whatever comes out is planned or refused: no traceback, and for everything
that the loader refuses exit code 2 with a line that names file and key. A case is made by the seed
and its number alone; ``--first N --count 1 --keep FILE`` makes one again.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import io
import json
import os
import random
import re
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchharness import cli
from benchharness.errors import SuiteError
from benchharness.suite.load import load
from benchharness.suite.settings import STRATEGIES, setting_names

SUITES = sorted((Path(__file__).parent.parent / "suites").glob("*.toml"))
KEYS = sorted({key for strategy in STRATEGIES for key in setting_names(strategy)})
# No path among them leads out of the folder of the case.
VALUES: tuple[Any, ...] = (
    0, 1, 2, -1, 7, 64, 10**12, 2**63, -(2**70), 0.0, -0.0, 0.5, 1e12, 1e-300, float("inf"),
    float("nan"), True, False, "", " ", "a", "cpu", "gpu", "folder", "drawn", "fashion_mnist",
    "cats_dogs", "sgd", "adam", "numpy", "torch", "a b", "loop", "nowhere", "x" * 3000,
    "[bold]x[/]", "\x1b[31mred",
    "=1+1", "héllo", "\u202eback", "two\nlines", [], [1], [[1]], ["a", "a"],
    ["numpy"], {}, {"a": 1}, [{}], datetime.date(2026, 1, 2), datetime.time(1, 2),
)  # fmt: skip
REFUSAL = re.compile(r"error: (?P<file>.+?\.toml): (?P<key>.+?): expected .+, found .+")

Document = dict[str, Any]
Place = tuple[Any, Any]


def toml(value: Any) -> str:
    """Return a value as inline TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml(key)} = {toml(item)}' for key, item in value.items())}}}"
        case datetime.date() | datetime.time():
            return value.isoformat()
    return str(value)


def places(value: Any) -> list[Place]:
    """Return every place of a document: what holds it, and its key or index there."""
    found: list[Place] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        found.append((value, key))
        if isinstance(item, dict | list):
            found += places(item)
    return found


def drop(draw: random.Random, holder: Any, key: Any) -> None:
    """Take something away."""
    del holder[key]


def change(draw: random.Random, holder: Any, key: Any) -> None:
    """Put another value in place of one."""
    holder[key] = copy.deepcopy(draw.choice(VALUES))


def misspell(draw: random.Random, holder: Any, key: Any) -> None:
    """Write a key in another way."""
    if isinstance(key, str):
        letters = list(key)
        letters.insert(draw.randrange(len(letters) + 1), draw.choice("aez_-. "))
        holder["".join(letters)] = holder.pop(key)


def add(draw: random.Random, holder: Any, key: Any) -> None:
    """Add what is known elsewhere, or nowhere."""
    value = copy.deepcopy(draw.choice(VALUES))
    if isinstance(holder, dict):
        holder[draw.choice([*KEYS, "matrix", "trials", "profiles", "x"])] = value
    else:
        holder.append(value)


def double(draw: random.Random, holder: Any, key: Any) -> None:
    """Let something stand there twice, in a list if it is none."""
    if isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[key] = [holder[key], copy.deepcopy(holder[key])]


def deepen(draw: random.Random, holder: Any, key: Any) -> None:
    """Wrap a value into many lists or tables."""
    for _ in range(draw.choice([1, 2, 30])):
        holder[key] = [holder[key]] if draw.random() < 0.5 else {"deep": holder[key]}


CHANGES: tuple[Callable[[random.Random, Any, Any], None], ...] = (
    drop, change, change, change, misspell, add, add, double, deepen,
)  # fmt: skip


def damaged(draw: random.Random, data: bytes) -> bytes:
    """Return bytes as editors, disks and transfers spoil them."""
    at = draw.randrange(len(data) + 1)
    match draw.randrange(9):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + draw.randbytes(draw.choice([1, 4, 40])) + data[at:]
        case 2:
            return data[:at] + draw.randbytes(1) + data[at + 1 :]
        case 3:
            return b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")
        case 4:
            return data.decode().encode("utf-16")
        case 5:
            return data.decode().encode("latin-1", "replace")
        case 6:
            return (
                data[:at] + draw.choice([b'"', b"'''", b"[", b"]", b"=", b"#", b"\0"]) + data[at:]
            )
        case 7:
            lines = data.splitlines(keepends=True)
            draw.shuffle(lines)
            return b"".join(lines)
    return b""


def case(number: int, *, seed: int) -> bytes:
    """Return the file of one case."""
    draw = random.Random(f"{seed}-{number}")
    document = tomllib.loads(draw.choice(SUITES).read_text(encoding="utf-8"))
    document["backends"] = ["numpy"]
    for _ in range(draw.choice([0, 1, 1, 2, 4])):
        if known := places(document):
            draw.choice(CHANGES)(draw, *draw.choice(known))
    text = "".join(f"{toml(key)} = {toml(value)}\n" for key, value in document.items())
    data = text.encode()
    return damaged(draw, data) if draw.random() < 0.25 else data


def called(path: Path) -> tuple[int, str]:
    """Return exit code and standard error of ``benchharness run PATH --dry-run``.

    Raises:
        Exception: Whatever the command does not catch.
    """
    said = io.StringIO()
    sys.argv = ["benchharness", "run", str(path), "--dry-run", "--offline", "--device", "cpu"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    return code if isinstance(code, int) else 0, said.getvalue()


def is_refused(path: Path) -> bool:
    """Return whether the loader takes the file for no suite."""
    try:
        load(path)
    except SuiteError:
        return True
    return False


def objection(path: Path) -> tuple[str, str]:
    """Return what became of a file, and what is wrong with that; empty where nothing is."""
    try:
        refused = is_refused(path)
        code, said = called(path)
    except Exception:
        return "traceback", traceback.format_exc()
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    named = [found for line in lines if (found := REFUSAL.fullmatch(line))]
    if "Traceback" in said or code not in (0, 1, 2):
        return "traceback", f"exit {code}: {said}"
    if refused and code != 2:
        return "not refused", f"exit {code}: {said}"
    if code == 2 and not any(found["file"] == str(path) for found in named):
        return "not named", said
    if code == 1 and not lines:
        return "no reason", said
    if any(not line.isprintable() for line in said.splitlines()):
        return "acts on the terminal", repr(said)
    return ("refused" if refused else {0: "planned", 1: "no data", 2: "not for this"}[code]), ""


def main() -> int:
    """Try the cases, tell what became of them, and return 1 if any went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Write the first case to this file as well.")
    options = parser.parse_args()
    found: Counter[str] = Counter()
    wrong, slowest_s = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.toml")
        Path(folder, "loop").symlink_to("loop")
        os.environ.update(BENCHHARNESS_CACHE=f"{folder}/cache", BENCHHARNESS_OFFLINE="1")
        for name in ("BENCHHARNESS_DATA", "BENCHHARNESS_WEIGHTS"):
            os.environ.pop(name, None)
        for number in range(options.first, options.first + options.count):
            path.write_bytes(case(number, seed=options.seed))
            if options.keep and number == options.first:
                options.keep.write_bytes(path.read_bytes())
            started_s = time.perf_counter()
            outcome, why = objection(path)
            slowest_s = max(slowest_s, time.perf_counter() - started_s)
            found[outcome] += 1
            if why:
                wrong += 1
                print(f"case {number}: {outcome}\n{why}")
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in found.most_common())
    print(f"{options.count:,} suites: {told}; {wrong:,} wrong; slowest {slowest_s:.2f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

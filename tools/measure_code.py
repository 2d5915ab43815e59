"""Size and shape of the code: modules, lines, importers, callers and call depth.

``python tools/measure_code.py`` prints a table. The call depth is that of a real trial: functions
of benchharness between the command and the worker's start, and between the worker's start and the
first call of the plugin's ``train``.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "benchharness"
QUESTIONS = ("What ", "Whether ", "How ", "Where ")
SUITE = """
format = 1
name = "depth"
[dataset]
source = "drawn"
train = 16
test = 8
[backend.numpy]
[[benchmark]]
strategy = "simple_cnn"
image_size = 24
batch_size = 8
epochs = 1
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--depth", action="store_true", help="run a trial to count the functions")
    arguments = parser.parse_args()
    modules = parsed(PACKAGE)
    importers = importers_of(modules)
    single = [name for name, users in importers.items() if len(users) == 1]
    functions, private_with_one = count_functions(modules)
    rows = {
        "modules in benchharness/": len(modules),
        "lines in benchharness/": sum(map(lines, modules)),
        "lines in plugins/": sum(map(lines, (ROOT / "plugins").rglob("*.py"))),
        "lines in tests/": sum(map(lines, (ROOT / "tests").rglob("*.py"))),
        "lines in tools/": sum(map(lines, (ROOT / "tools").rglob("*.py"))),
        "modules with one importer": len(single),
        "functions": functions,
        "private functions with one caller": (
            f"{private_with_one} ({private_with_one / functions:.0%})"
        ),
        "module docstrings that open with a question": sum(
            map(opens_with_question, modules.values())
        ),
    }
    if arguments.depth:
        rows |= depth()
    for name, value in rows.items():
        print(f"{name:<46}{value:>12}")


def parsed(folder: Path) -> dict[Path, ast.Module]:
    """Return the modules below a folder that are ours to import, parsed."""
    files = (file for file in folder.rglob("*.py") if "template" not in file.parts)
    return {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}


def lines(file: Path) -> int:
    """Return the lines of a file."""
    return len(file.read_text(encoding="utf-8").splitlines())


def name_of(file: Path) -> str:
    """Return a module's dotted name."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def importers_of(modules: dict[Path, ast.Module]) -> dict[str, set[str]]:
    """Return the modules that import each module, without packages and entry points."""
    names = {name_of(file) for file in modules if file.name != "__init__.py"}
    importers: dict[str, set[str]] = {name: set() for name in names}
    for file, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found = {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                continue
            for name in found & names:
                importers[name].add(name_of(file))
    return importers


def count_functions(modules: dict[Path, ast.Module]) -> tuple[int, int]:
    """Return the number of functions, and of private ones that their module names once."""
    count = with_one = 0
    for tree in modules.values():
        used = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                is_private = node.name.startswith("_") and not node.name.startswith("__")
                count += 1
                with_one += is_private and used[node.name] == 1
    return count, with_one


def opens_with_question(tree: ast.Module) -> bool:
    """Return whether a module's docstring opens with a question word."""
    return (ast.get_docstring(tree) or "").startswith(QUESTIONS)


def depth() -> dict[str, int]:
    """Return the functions of ours on the stack where the worker starts, and where it trains."""
    with tempfile.TemporaryDirectory() as folder:
        suite, trace = Path(folder, "depth.toml"), Path(folder, "trace")
        suite.write_text(SUITE, encoding="utf-8")
        command = [sys.executable, __file__, "--traced", str(suite), "--results", folder]
        environment = {**os.environ, "BENCHHARNESS_STACK_TRACE": str(trace)}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        stacks = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    return {stack["where"]: len(stack["functions"]) for stack in stacks}


if __name__ == "__main__":
    main()

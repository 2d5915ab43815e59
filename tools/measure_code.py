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
name = "depth"
backends = ["numpy"]
trials = 1
[dataset]
source = "drawn"
[[benchmark]]
name = "small"
strategy = "simple_cnn"
image_size = 16
train_images = 12
test_images = 4
filters = [2]
dense = 4
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
        suite, request = Path(folder, "depth.toml"), Path(folder, "request.json")
        suite.write_text(SUITE, encoding="utf-8")
        command = _functions(_COMMAND, str(suite), str(request), cwd=folder)
        worker = _functions(_WORKER, str(request), cwd=folder)
    for functions in (command, worker):
        print(" -> ".join(functions))
    return {
        "functions from the command to the worker": len(command),
        "functions from the worker to the plugin": len(worker),
    }


# Each prints the functions of ours on the stack, as JSON, at one moment of a trial.
_STACK = """
import json, sys, traceback
from pathlib import Path
import benchharness
PACKAGE = str(Path(benchharness.__file__).parent)
def stack():
    frames = traceback.extract_stack()
    return [frame.name for frame in frames if frame.filename.startswith(PACKAGE)
            and not frame.name.startswith(("<", "__"))]
"""
_COMMAND = """
import shutil, subprocess
from benchharness.cli import cli
suite, request = sys.argv[1:]
class Traced(subprocess.Popen):
    def __init__(self, command, *args, **kwargs):
        file = next((word for word in map(str, command) if word.endswith(".json")), None)
        if file and '"job": "trial"' in Path(file).read_text() and not Path(request).exists():
            shutil.copy(file, request)
            print("STACK" + json.dumps(stack()), flush=True)
        super().__init__(command, *args, **kwargs)
subprocess.Popen = Traced
cli.main(["run", suite, "--no-proof", "--quiet", "--device", "cpu"], standalone_mode=False)
"""
_WORKER = """
from benchharness.testing.reference import NumpyTraining
train = NumpyTraining.train
def traced(self, *args, **kwargs):
    print("STACK" + json.dumps(stack()), file=sys.stderr, flush=True)
    return train(self, *args, **kwargs)
NumpyTraining.train = traced
from benchharness.worker.main import main
main(sys.argv[1:])
"""


def _functions(script: str, *arguments: str, cwd: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _STACK + script, *arguments],
        cwd=cwd,
        env={**os.environ, "BENCHHARNESS_CACHE": cwd, "BENCHHARNESS_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (done.stdout + done.stderr).splitlines()
    stacks = [json.loads(line[5:]) for line in lines if line.startswith("STACK")]
    if not stacks:
        raise SystemExit(f"no stack was seen: {done.stderr}")
    # The shortest: checks of the clock train too, on longer ways.
    return min(stacks, key=len)


if __name__ == "__main__":
    main()

"""Twins are alike file by file, and the core knows no framework."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from benchharness.testing.scaffold import TEMPLATE

ROOT = Path(__file__).parent.parent
CORE = ROOT / "benchharness"
# What only one framework needs, with the reason.
OWN = {
    "engines.py": "Keras computes on several engines, each with switches of its own",
    "checkpoint.py": "torchvision publishes weights in PyTorch's own format",
}
FRAMEWORK = re.compile(r"(?<![a-z])(tensorflow|keras|torch|torchvision|pytorch|jax|flax)(?![a-z])")
# Where a framework is data: what its files are called and where they lie, and what to install.
DATA = {
    "cli/list_command.py": "what to install where there is no backend",
    "data/fashion_mnist.py": "where a framework keeps the dataset",
    "data/sources.py": "where a framework keeps datasets",
    "fetch/caches.py": "folders in which frameworks keep what they download",
    "fetch/homes.py": "addresses of published files",
    "model/backbones.py": "names of published weights",
    "plugins.py": "what to install for a format of weights",
    "pytest_support/timing.py": "an example in a message",
    "run/checkup/supply.py": "folders in which frameworks keep weights",
    "run/checkup/supply_findings.py": "what to install where there is no backend",
    "suite/resolve.py": "an example in a message",
    "suite/settings.py": "names of published weights",
    "weights/published.py": "where published weights lie, and what to install for a format",
    "weights/reading.py": "a format of published weights",
}


def packages() -> list[Path]:
    """Return the package of every plugin here, and that of the template."""
    return [*sorted((ROOT / "plugins").glob("*/benchharness_*")), *TEMPLATE.glob("benchharness_*")]


def modules(package: Path) -> set[str]:
    """Return the names of a package's modules, its own framework's left out."""
    return {path.name for path in package.glob("*.py")} - OWN.keys()


@pytest.mark.parametrize("one, other", list(pairwise(packages())), ids=lambda package: package.name)
def test_twins_have_the_same_files(one: Path, other: Path):
    """Whoever looks for something in one finds it in the other."""
    assert modules(one) == modules(other)


def test_what_twins_do_not_share_exists_and_is_one_framework_s():
    """A reason for a file that two have, or none, would be no reason."""
    for name in OWN:
        assert sum((package / name).exists() for package in packages()) == 1, name


def named_in_code(file: Path) -> Iterator[str]:
    """Yield what names a framework: names and texts, docstrings and comments left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and ast.get_docstring(node) is not None
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in prose:
                words = text
            case ast.Name(id=words) | ast.arg(arg=words) | ast.Attribute(attr=words):
                pass
            case ast.FunctionDef(name=words) | ast.ClassDef(name=words):
                pass
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                module = getattr(node, "module", "") or ""
                words = " ".join([module, *(name.name for name in names)])
            case _:
                continue
        yield from (found[0] for found in FRAMEWORK.finditer(words.lower().replace("_", " ")))


def test_no_file_of_the_core_names_a_framework():
    """Except as data, in the files that say why."""
    naming = {
        str(file.relative_to(CORE))
        for file in CORE.rglob("*.py")
        if TEMPLATE not in file.parents and any(named_in_code(file))
    }

    assert naming == DATA.keys()


def test_a_framework_in_code_would_be_noticed(tmp_path: Path):
    """Prose may name one; code, and a text that decides something, may not."""
    file = tmp_path / "module.py"
    file.write_text('"""As in PyTorch."""\n# As in Keras.\nNAMES = {"compile": 1}\n')
    assert not list(named_in_code(file))

    for line in ('if backend == "torch": ...', "import jax", "def use_keras(): ...", "torch = 1"):
        file.write_text(line)
        assert list(named_in_code(file)), line

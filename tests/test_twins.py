"""Twins are alike file by file and name by name, and the core knows no framework."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchharness.testing.scaffold import TEMPLATE

ROOT = Path(__file__).parent.parent
PLUGINS, CORE = ROOT / "plugins", ROOT / "benchharness"
TWINS = ("keras", "torch", "jax")
PARTS = {"plugin", "network", "data", "training", "optimizers"}
NAMES = {
    "data": {"use_device", "device_settings", "build_loader", "Ledger"},
    "network": {
        *("build_network", "build_layer", "network_settings"),
        *("named_parameters", "load_weights", "to_canonical"),
    },
    "optimizers": {"build_optimizer", "build_native_optimizer", "read_optimizer"},
    "plugin": {"benchharness_backend", "benchharness_synchronize"},
    "training": {"initial_weights", "learning_settings"},
}
CLASSES = {
    "Feeding": "data",
    "Extraction": "network",
    "Training": "training",
    "Backend": "training",
}

FRAMEWORK = re.compile(r"(?<![a-z])(tensorflow|keras|torch|torchvision|pytorch|jax|flax)(?![a-z])")
# Where a framework is data: what its files are called and where they lie, and what to install.
DATA = {
    "cli/list_command.py": "what to install where there is no backend",
    "data/fashion_mnist.py": "where a framework keeps the dataset",
    "data/sources.py": "where a framework keeps datasets",
    "doctor/backends.py": "what to install where there is no backend",
    "doctor/data.py": "folders in which frameworks keep weights",
    "download/caches.py": "folders in which frameworks keep what they download",
    "download/registry.py": "addresses of published files",
    "measure/machine.py": "names of variables that frameworks read",
    "measure/yardstick.py": "a bare step of each",
    "model/backbones.py": "names of published weights",
    "plugins.py": "what to install for a format of weights",
    "pytest_plugin/timing.py": "an example in a message",
    "suite/resolve.py": "an example in a message",
    "suite/settings.py": "names of published weights",
    "weights/pretrained.py": "where published weights lie, and what to install for a format",
    "weights/reading.py": "a format of published weights",
}


def folder(twin: str) -> Path:
    """Return the package of a plugin, or of the template of a new one."""
    if twin == "template":
        (package,) = TEMPLATE.glob("benchharness_*")
        return package
    return PLUGINS / f"benchharness-{twin}" / f"benchharness_{twin}"


def definitions(twin: str, module: str) -> dict[str, ast.stmt]:
    """Return the classes and functions of a module by name."""
    tree = ast.parse((folder(twin) / f"{module}.py").read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name: node for node in tree.body if isinstance(node, kinds)}


def methods(twin: str, module: str, ending: str) -> set[str]:
    """Return the public methods of the class that a module is about, called as its framework."""
    found = definitions(twin, module)[f"{twin.capitalize()}{ending}"]
    assert isinstance(found, ast.ClassDef)
    functions = (node for node in found.body if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if not node.name.startswith("_")}


@pytest.mark.parametrize("twin", [*TWINS, "template"])
def test_twins_have_a_file_for_each_part(twin: str):
    """Five files, by the names of its parts, in the template of a new plugin as well."""
    assert {file.stem for file in folder(twin).glob("*.py")} == {"__init__", *PARTS}


@pytest.mark.parametrize("module", NAMES)
@pytest.mark.parametrize("twin", TWINS)
def test_twins_have_the_same_names(twin: str, module: str):
    """Whoever knows one plugin finds everything in another."""
    assert definitions(twin, module).keys() >= NAMES[module]


@pytest.mark.parametrize(("ending", "module"), CLASSES.items())
@pytest.mark.parametrize("twin", TWINS)
def test_twins_promise_the_same(twin: str, ending: str, module: str):
    """Their classes are called as their frameworks, and offer the same methods."""
    assert methods(twin, module, ending) == methods("torch", module, ending)


@pytest.mark.parametrize("twin", TWINS)
def test_what_differs_between_twins_has_its_reason(twin: str):
    """Every plugin tells, at the place, why it does something otherwise."""
    texts = (file.read_text(encoding="utf-8") for file in folder(twin).glob("*.py"))

    assert sum(text.count("Twin note:") for text in texts) >= 3


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

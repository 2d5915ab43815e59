"""The plugins are twins: the same files with the same names in them, read without any framework."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent.parent / "plugins"
TWINS = ("keras", "torch", "jax")
# What only one framework has, or has no use for elsewhere.
OWN = {
    "keras": {"engines", "compiling"},
    "torch": {"checkpoint", "compiling"},
    "jax": {"steps"},
}
NAMES = {
    "device": {"use_device"},
    "files": {"build_loader"},
    "layers": {"build_network", "build_layer"},
    "optimizers": {"build_optimizer", "build_native_optimizer", "read_optimizer"},
    "plugin": {"benchharness_backend", "benchharness_synchronize"},
    "settings": {"device_settings", "network_settings", "learning_settings"},
    "training": {"initial_weights"},
    "weights": {"named_parameters", "load_weights", "to_canonical"},
    "witness": {"Ledger"},
}
CLASSES = {
    "backend": "Backend",
    "extraction": "Extraction",
    "feeding": "Feeding",
    "training": "Training",
}


def folder(twin: str) -> Path:
    """Return the package of a plugin."""
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


@pytest.mark.parametrize("twin", TWINS)
def test_twins_have_the_same_files(twin: str):
    """A file of its own is named here, with the framework it belongs to."""
    found = {file.stem for file in folder(twin).glob("*.py")}
    common = {file.stem for file in folder("torch").glob("*.py")} - OWN["torch"]

    assert found == common | OWN[twin]


@pytest.mark.parametrize("module", NAMES)
@pytest.mark.parametrize("twin", TWINS)
def test_twins_have_the_same_names(twin: str, module: str):
    """Whoever knows one plugin finds everything in another."""
    assert definitions(twin, module).keys() >= NAMES[module]


@pytest.mark.parametrize("module", CLASSES)
@pytest.mark.parametrize("twin", TWINS)
def test_twins_promise_the_same(twin: str, module: str):
    """Their classes are called as their frameworks, and offer the same methods."""
    assert methods(twin, module, CLASSES[module]) == methods("torch", module, CLASSES[module])


@pytest.mark.parametrize("twin", TWINS)
def test_what_differs_between_twins_has_its_reason(twin: str):
    """Every plugin tells, at the place, why it does something otherwise."""
    texts = (file.read_text(encoding="utf-8") for file in folder(twin).glob("*.py"))

    assert sum(text.count("Twin note:") for text in texts) >= 3

"""Contract of the package: what it imports, what that costs, and what it says.

A plugin author writes, in a test module::

    from benchharness.testing import PluginContract

    class TestMyPlugin(PluginContract):
        @pytest.fixture
        def plugin(self):
            return "mine"
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchharness.api import API_VERSION, Setting
from benchharness.plugins import DECLARATION, find, load, title
from benchharness.testing.assertions import Clause
from benchharness.testing.loading import framework_of, observe_loading

# What importing a few small modules may take on a slow machine; a framework takes seconds.
IMPORT_MS = 200
CORE, API = "benchharness", "benchharness.api"
# Where the NumPy reference is, which a new plugin stands on until it has replaced it.
REFERENCE = "benchharness.testing"


class Loads(Clause, name="loads"):
    """Loads, and refuses options that it does not know."""

    def test_the_plugin_loads(self, plugin: str, options: Mapping[str, Setting]) -> None:
        """Its module is imported, no hook is misspelt, and one of them returns a backend."""
        loading = observe_loading(plugin, options=options)

        found = f"{loading.error}: {loading.message}"
        assert not loading.error, f"loading: expected a backend, found {found}"

    def test_an_unknown_option_is_refused(self, plugin: str) -> None:
        """An option that does nothing would be believed."""
        loading = observe_loading(plugin, options={"no_such_option": "1"})

        assert loading.error == "PluginError" and "no_such_option" in loading.message, (
            "the option no_such_option: expected a PluginError that names it, "
            f"found {loading.error or 'none'} {loading.message}".rstrip()
        )


class ApiVersion(Clause, name="api_version"):
    """States the version of benchharness.api that it was written for."""

    def test_the_api_version_is_declared(self, plugin: str) -> None:
        """The module of the entry point says what it was written for."""
        entry = find(plugin)
        load(entry)

        assert hasattr(entry.load(), DECLARATION), (
            f"{entry.module}: expected {DECLARATION} = {API_VERSION!r}, found none"
        )


class Imports(Clause, name="imports"):
    """Imports of benchharness its api alone."""

    def test_only_the_api_is_imported(self, plugin: str) -> None:
        """Of benchharness, ``benchharness.api`` alone: everything else may change at any time."""
        entry = find(plugin)
        if is_in(entry.module, CORE):
            pytest.skip("it is part of benchharness itself")
        used = ", ".join(
            f"{file}:{line}: {module}"
            for file, line, module in core_imports(entry)
            if not (is_in(module, API) or is_in(module, REFERENCE))
        )

        assert not used, f"imports: expected benchharness.api alone, found {used}"


class ImportCost(Clause, name="import_cost"):
    """Importing its module imports no framework."""

    def test_its_module_imports_no_framework(
        self, plugin: str, options: Mapping[str, Setting]
    ) -> None:
        """The hook imports the framework when it is called; the module around it does not."""
        loading = observe_loading(plugin, options=options)

        assert not loading.imports, (
            f"import: expected nothing but benchharness.api and the plugin's own, found "
            f"{', '.join(loading.imports)} ({loading.import_ms:.0f} ms); import it inside the hook"
        )
        assert loading.import_ms <= IMPORT_MS, (
            f"import: expected at most {IMPORT_MS} ms, found {loading.import_ms:.0f} ms"
        )


class MissingFramework(Clause, name="missing_framework"):
    """Tells how to install a framework that is missing."""

    def test_a_missing_framework_is_told(self, plugin: str, options: Mapping[str, Setting]) -> None:
        """Without what it needs, the hook raises a PluginError that says how to install it."""
        entry, needed = find(plugin), observe_loading(plugin, options=options).needs
        if not needed:
            pytest.skip("it needs no package beyond those of benchharness")
        loading = observe_loading(plugin, options=options, without=needed)

        where = f"{title(entry)} without {framework_of(entry, needed)}"
        assert loading.error == "PluginError", (
            f"{where}: expected a PluginError, "
            f"found {loading.error or 'a backend'} {loading.message}".rstrip()
        )
        assert "install" in loading.message, (
            f"{where}: expected how to install it, found: {loading.message}"
        )


class PluginContract(Loads, ApiVersion, Imports, ImportCost, MissingFramework):
    """Listing plugins stays instant, and a broken installation is told in a sentence."""

    @pytest.fixture
    def plugin(self) -> str:
        """Return the name of the installed plugin; override this."""
        raise NotImplementedError(f"{type(self).__name__}: override the fixture 'plugin'")

    @pytest.fixture
    def options(self) -> Mapping[str, Setting]:
        """Return the options to load it with; override it where there are any."""
        return {}


def core_imports(entry: EntryPoint) -> list[tuple[str, int, str]]:
    """Return every import of benchharness in the source of a plugin, without running it.

    Each is a file below the plugin's package, a line, and the module.
    """
    spec = find_spec(entry.module.partition(".")[0])
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [(folder, file) for folder in folders for file in sorted(folder.rglob("*.py"))]
    if not folders and spec.origin:
        files = [(Path(spec.origin).parent, Path(spec.origin))]
    return [
        (str(file.relative_to(folder)), line, module)
        for folder, file in files
        for line, module in _imported(ast.parse(file.read_text(encoding="utf-8")))
        if is_in(module, CORE)
    ]


def _imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything imported absolutely."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                # ``from benchharness import api`` names a module only together.
                is_core = module == CORE
                yield from (
                    (node.lineno, f"{module}.{name.name}" if is_core else module) for name in names
                )
            case ast.Call(func=function, args=[ast.Constant(value=str(module)), *_]):
                if ast.unparse(function).endswith(("import_module", "__import__")):
                    yield node.lineno, module


def is_in(module: str, package: str) -> bool:
    """Return whether a module is a package or in it."""
    return module == package or module.startswith(f"{package}.")

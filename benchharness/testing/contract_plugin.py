"""The contract's part on the package: what it imports, what that costs, and what it says.

A plugin author writes, in a test module::

    from benchharness.testing import PluginContract

    class TestMyPlugin(PluginContract):
        @pytest.fixture
        def plugin(self):
            return "mine"
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from benchharness.api import API_VERSION, Setting
from benchharness.plugins import DECLARATION, find, load, title
from benchharness.testing.imports import CORE, core_imports
from benchharness.testing.loading import Loading, framework_of, observe_loading
from benchharness.testing.skip import Contract

# What importing a few small modules may take on a slow machine; a framework takes seconds.
IMPORT_MS = 200


class PluginContract(Contract):
    """Listing plugins stays instant, and a broken installation is told in a sentence."""

    @pytest.fixture
    def plugin(self) -> str:
        """Return the name of the installed plugin; override this."""
        raise NotImplementedError(f"{type(self).__name__}: override the fixture 'plugin'")

    @pytest.fixture
    def options(self) -> Mapping[str, Setting]:
        """Return the options to load it with; override it where there are any."""
        return {}

    def test_the_plugin_loads(self, plugin: str, options: Mapping[str, Setting]) -> None:
        """Its module is imported, no hook is misspelt, and one of them returns a backend."""
        found = observe_loading(plugin, options=options)

        assert not found.error, f"loading: expected a backend, found {found.error}: {found.message}"

    def test_the_api_version_is_declared(self, plugin: str) -> None:
        """The module of the entry point says what it was written for."""
        entry = find(plugin)
        load(entry)

        assert hasattr(entry.load(), DECLARATION), (
            f"{entry.module}: expected {DECLARATION} = {API_VERSION!r}, found none"
        )

    def test_an_unknown_option_is_refused(self, plugin: str) -> None:
        """An option that does nothing would be believed."""
        found = observe_loading(plugin, options={"no_such_option": "1"})

        assert found.error == "PluginError" and "no_such_option" in found.message, (
            "the option no_such_option: expected a PluginError that names it, "
            f"found {found.error or 'none'} {found.message}".rstrip()
        )

    def test_only_the_api_is_imported(self, plugin: str) -> None:
        """Of benchharness, ``benchharness.api`` alone: everything else may change at any time."""
        entry = find(plugin)
        if entry.module.partition(".")[0] == CORE:
            pytest.skip("it is part of benchharness itself")

        foreign = [str(found) for found in core_imports(entry) if found.is_foreign]

        assert not foreign, f"imports: expected benchharness.api alone, found {', '.join(foreign)}"

    def test_its_module_imports_no_framework(
        self, plugin: str, options: Mapping[str, Setting]
    ) -> None:
        """The hook imports the framework when it is called; the module around it does not."""
        found = observe_loading(plugin, options=options)

        assert not found.imports, (
            f"import: expected nothing but benchharness.api and the plugin's own, found "
            f"{', '.join(found.imports)} ({found.import_ms:.0f} ms); import it inside the hook"
        )
        assert found.import_ms <= IMPORT_MS, (
            f"import: expected at most {IMPORT_MS} ms, found {found.import_ms:.0f} ms"
        )

    def test_a_missing_framework_is_told(self, plugin: str, options: Mapping[str, Setting]) -> None:
        """Without what it needs, the hook raises a PluginError that says how to install it."""
        needed = observe_loading(plugin, options=options).needs
        if not needed:
            pytest.skip("it needs nothing that benchharness does not bring along")

        found = observe_loading(plugin, options=options, without=needed)

        _assert_told(found, framework_of(plugin, needed), where=title(find(plugin)))


def _assert_told(found: Loading, missing: str, *, where: str) -> None:
    assert found.error == "PluginError", (
        f"{where} without {missing}: expected a PluginError, "
        f"found {found.error or 'a backend'} {found.message}".rstrip()
    )
    assert "install" in found.message, (
        f"{where} without {missing}: expected how to install it, found: {found.message}"
    )

"""Finding and loading plugins."""

from __future__ import annotations

import sys
from pathlib import Path

import local_plugins
import pytest

from benchharness import plugins
from benchharness.errors import PluginError


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs a plugin whose module has the given source."""

    def add(name: str, source: str) -> None:
        local_plugins.install(tmp_path, name, source)
        monkeypatch.syspath_prepend(str(tmp_path))
        # Another test may have imported a module of that name.
        monkeypatch.delitem(sys.modules, f"{name}_module", raising=False)
        plugins.installed.cache_clear()

    yield add
    plugins.installed.cache_clear()


def test_a_plugin_is_known_by_its_entry_point_and_distribution(install):
    """Listing reads names alone: a broken module is found all the same."""
    install("broken", "raise RuntimeError('imported')")

    assert plugins.distribution(plugins.installed()["broken"]) == "broken-dist 1.0"


def test_a_misspelt_hook_is_an_error_and_not_a_silence(install):
    """A hook that benchharness does not know is named."""
    install(
        "typo",
        "from benchharness.api import hookimpl\n\n@hookimpl\ndef benchharness_backent(options):\n"
        "    return 1\n",
    )

    with pytest.raises(PluginError, match="benchharness_backent"):
        plugins.load_backend("typo", options={})


def test_a_plugin_without_a_backend_is_an_error(install):
    """Implementing no hook at all gives no backend."""
    install("empty", "")

    with pytest.raises(PluginError, match="expected the hook benchharness_backend, found none"):
        plugins.load_backend("empty", options={})


def test_a_plugin_that_cannot_be_imported_names_its_distribution(install):
    """The reader learns which installation to mend."""
    install("lame", "import a_module_that_is_not_there")

    with pytest.raises(PluginError, match=r"lame-dist 1\.0.*a_module_that_is_not_there"):
        plugins.load_backend("lame", options={})


def test_an_unknown_plugin_names_the_nearest():
    """A slip of the finger is mended by the message."""
    with pytest.raises(PluginError, match="did you mean numpy"):
        plugins.load_backend("nunpy", options={})


def test_a_plugin_refuses_options_that_it_does_not_know():
    """An option that does nothing would be believed."""
    with pytest.raises(PluginError, match="colour"):
        plugins.load_backend("numpy", options={"colour": "red"})


READER = """
from benchharness.api import hookimpl

@hookimpl
def benchharness_read_weights(path, network):
    return {"of": path.name} if path.suffix == ".odd" else None
"""


def test_weights_of_a_strange_format_are_read_by_the_plugin_that_knows_it(install):
    """Broken plugins and those without the hook are passed over."""
    install("able", READER)
    install("broken", "raise RuntimeError('imported')")
    install("plain", "")

    assert set(plugins.weight_readers()) >= {"able"}
    assert not set(plugins.weight_readers()) & {"broken", "plain", "numpy"}
    assert plugins.read_weights(Path("a.odd"), network=None) == {"of": "a.odd"}


def test_weights_that_no_plugin_can_read_name_the_remedy(install):
    """The format is named, and what to install."""
    install("able", READER)

    with pytest.raises(PluginError, match=r"a.none: expected a plugin that reads .none files"):
        plugins.read_weights(Path("a.none"), network=None)


@pytest.mark.parametrize(
    ("declared", "remedy"),
    [
        ('"1.9"', "install a newer benchharness$"),
        ('"2.0"', "install a newer benchharness$"),
        ('"0.9"', "install a newer old-dist$"),
        ('"one"', "install a newer old-dist$"),
        ("1", "install a newer old-dist$"),
    ],
)
def test_a_plugin_for_another_version_of_the_api_is_told_so(install, declared: str, remedy: str):
    """With its version, that of the API here, and which of the two to renew."""
    install("old", f"benchharness_api = {declared}\n")

    with pytest.raises(PluginError, match=rf"old-dist 1\.0.*expected version 1\.0 to .*{remedy}"):
        plugins.load_backend("old", options={})


@pytest.mark.parametrize("declared", ['benchharness_api = "1.0"', ""])
def test_a_plugin_for_this_version_or_for_none_is_loaded(install, declared: str):
    """Whoever declares nothing is taken at their word; the check asks for a declaration."""
    install(
        "fit",
        f"from benchharness.api import hookimpl\n{declared}\n\n@hookimpl\n"
        "def benchharness_backend(options):\n    return 'a backend'\n",
    )

    assert plugins.load_backend("fit", options={}) == "a backend"


def test_a_hook_calls_one_plugin_alone(install):
    """All plugins are registered with one manager; a misspelt one does not spoil the next."""
    source = "from benchharness.api import hookimpl\n\n@hookimpl\n"
    for name in ("first", "second"):
        install(name, f"{source}def benchharness_backend(options):\n    return {name!r}\n")
    install("typo", f"{source}def benchharness_backent(options):\n    return 1\n")

    with pytest.raises(PluginError, match="benchharness_backent"):
        plugins.load_backend("typo", options={})

    loaded = [plugins.load_backend(name, options={}) for name in ("first", "second", "first")]
    assert loaded == ["first", "second", "first"]


def test_a_hook_calls_no_plugin_that_is_loaded_later(install):
    """As where all writers of reports are found first, and called then."""
    source = "from benchharness.api import hookimpl\n\n@hookimpl\n"
    for name in ("early", "late"):
        install(name, f"{source}def benchharness_backend(options):\n    return {name!r}\n")

    early, late = (
        plugins.load_hook(plugins.find(name), "benchharness_backend") for name in ("early", "late")
    )

    assert (early(options={}), late(options={})) == ("early", "late")


def test_the_code_of_a_plugin_in_one_module_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After an edit its trials and proofs are others."""
    module = tmp_path / "in_one_module.py"
    module.write_text("SPEED = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = plugins.package_digest("in_one_module")

    module.write_text("SPEED = 2\n")
    plugins.package_digest.cache_clear()

    assert plugins.package_digest("in_one_module") != before

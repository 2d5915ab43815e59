"""Report plugins: the files that they add to a run's folder, and what the page needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from benchharness.errors import PluginError
from benchharness.files import atomic_write_bytes
from benchharness.plugins import extensions, hooks, title
from benchharness.results.load import load_run
from benchharness.results.run_folder import RunFolder

# What the page draws with, beyond the core's needs: distribution to the module it brings.
LIBRARIES = {"altair": "altair", "vl-convert-python": "vl_convert", "jinja2": "jinja2"}
# What a run is read from again; no writer replaces it.
_TRUTH = frozenset({"records.jsonl", "run.json", "certificate.json", "comparison.json"})


def write_plugin_files(folder: RunFolder, *, tell: Callable[[str], None]) -> list[Path]:
    """Write the files of every installed writer and return them.

    Args:
        folder: Of the run.
        tell: Called with a message for each writer that fails; the others write all the same.

    Raises:
        RunError: The folder cannot be read.
    """
    records, _ = folder.records()
    run, _ = load_run(folder, records)
    written: list[Path] = []
    for name, hook in hooks("reports"):
        try:
            written += _write(folder.path, hook(run=run, records=records) or {})
        except Exception as error:
            # A report that fails takes nothing from what was measured.
            where = title(extensions("reports")[name])
            tell(f"{where}: nothing written: {type(error).__name__}: {error}")
    return written


def _write(folder: Path, files: Mapping[str, str | bytes]) -> list[Path]:
    unfit = [name for name in files if Path(name).name != name or name in _TRUTH]
    if unfit:
        raise PluginError(
            "expected names of files that go into the run's folder beside its records, "
            f"found {', '.join(unfit)}"
        )
    for name, content in files.items():
        atomic_write_bytes(folder / name, content.encode() if isinstance(content, str) else content)
    return [folder / name for name in files]


def missing_libraries() -> list[str]:
    """Return the distributions that are not installed; imports none."""
    return [name for name, module in LIBRARIES.items() if find_spec(module) is None]

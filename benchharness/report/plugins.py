"""Report plugins: the files that they write into a run's folder, and what the page needs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchharness.errors import BenchError, PluginError, RunError
from benchharness.files import ANOTHER_RESULTS, atomic_write_bytes, writable
from benchharness.plugins import extensions, hooks, title
from benchharness.results.load import load_run
from benchharness.results.run_folder import RunFolder

PAGE = "report.html"
# What the page draws with, beyond the core's needs: distribution to the module it brings.
LIBRARIES = {"altair": "altair", "vl-convert-python": "vl_convert", "jinja2": "jinja2"}
# What a run is read from again; no writer replaces it.
_TRUTH = frozenset({"records.jsonl", "run.json", "certificate.json", "comparison.json"})


def write_reports(folder: RunFolder, *, tell: Callable[[str], None]) -> list[Path]:
    """Write the files of every enabled writer and return them; tell which writers fail.

    Raises:
        RunError: The folder cannot be read.
    """
    records, _ = folder.records()
    run, _ = load_run(folder, records)
    certificates: dict[str, Any] | None = None
    try:
        certificates = folder.read_certificates()
    except RunError as error:
        tell(f"WARNING: {error}")
    written: list[Path] = []
    # Drawing takes longest: what ends it takes no other report with it.
    for name, hook in sorted(hooks("reports"), key=lambda found: found[0] == "html"):
        try:
            files = hook(run=run, records=records, certificates=certificates) or {}
            if unfit := [file for file in files if Path(file).name != file or file in _TRUTH]:
                raise PluginError(
                    "expected names of files that go into the run's folder beside its records, "
                    f"found {', '.join(unfit)}"
                )
            for file, content in files.items():
                content = content.encode() if isinstance(content, str) else content
                with writable(folder.path / file, elsewhere=ANOTHER_RESULTS):
                    atomic_write_bytes(folder.path / file, content)
            written += [folder.path / file for file in files]
        except Exception as error:
            # A report that fails takes nothing from what was measured.
            kind = "" if isinstance(error, BenchError) else f"{type(error).__name__}: "
            where, reason = title(extensions("reports")[name]), f"{kind}{error}".splitlines()[0]
            tell(f"WARNING: {where}: nothing written: {reason}")
    return written


def missing_libraries() -> list[str]:
    """Return the distributions that are not installed; imports none."""
    return [name for name, module in LIBRARIES.items() if find_spec(module) is None]

"""The package of a new backend, written from one that works.

The folder ``template`` holds a whole plugin called ``newbackend``; a new one is that with another
name. So what authors get is linted, typed and tested like everything else here.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchharness.errors import Problem, RunError, SuiteError
from benchharness.files import unwritten
from benchharness.plugins import distribution, installed

TEMPLATE = Path(__file__).parent / "template"
# How the template is called, in each of the spellings that occur in it.
_NAME, _PACKAGE, _CLASS = "newbackend", "benchharness_newbackend", r"\bNew(?=[A-Z])"


def distribution_of(name: str) -> str:
    """Return the name of the distribution of a backend.

    Raises:
        SuiteError: A plugin cannot be called so.
    """
    _require_possible(name)
    return f"benchharness-{name.replace('_', '-')}"


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Write the package of a backend into a new folder and return its files.

    Args:
        name: Of the backend.
        folder: Made here; an empty one is taken.

    Raises:
        SuiteError: A plugin cannot be called so.
        RunError: The folder holds something, or cannot be written.
    """
    _require_possible(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder}: expected no such folder or an empty one, found something in it; "
            "choose another NAME, or another folder with --dir"
        )
    try:
        return [_write(source, folder, name) for source in sources()]
    except OSError as error:
        raise RunError(
            f"{folder}: expected to be able to write here, found: "
            f"{unwritten(error, elsewhere='choose another folder with --dir')}"
        ) from error


def sources() -> list[Path]:
    """Return the files of the template, paths below its folder."""
    found = (path for path in TEMPLATE.rglob("*") if path.is_file())
    return sorted(path.relative_to(TEMPLATE) for path in found if "__pycache__" not in path.parts)


def renamed(text: str, name: str) -> str:
    """Return a text, or a path, of the template as that of a backend of another name."""
    module = name.replace("-", "_")
    text = text.replace(_PACKAGE, f"benchharness_{module}")
    text = text.replace(f"benchharness-{_NAME}", f"benchharness-{name.replace('_', '-')}")
    text = text.replace(_NAME, name)
    return re.sub(_CLASS, "".join(part.capitalize() for part in module.split("_")), text)


def _write(source: Path, folder: Path, name: str) -> Path:
    target = folder / renamed(str(source), name)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = (TEMPLATE / source).read_text(encoding="utf-8")
    target.write_text(renamed(text, name), encoding="utf-8")
    return target


def _require_possible(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name):
        found = Problem(
            where="NAME",
            expected="lower-case letters and digits, words joined by - or _, a letter first",
            found=f'"{name}"',
        )
        raise SuiteError("command line", [found])
    if name in installed():
        taken = Problem(
            where="NAME",
            expected="a name that no installed backend has",
            found=f'"{name}" ({distribution(installed()[name])})',
        )
        raise SuiteError("command line", [taken])

"""Package of a new backend, made of the working plugin ``newbackend`` in ``template``."""

from __future__ import annotations

import re
from pathlib import Path

from benchharness.errors import Problem, RunError, SuiteError
from benchharness.files import writable
from benchharness.plugins import distribution, installed

TEMPLATE = Path(__file__).parent / "template"


def distribution_of(name: str) -> str:
    """Return the name of the distribution of a backend.

    Raises:
        SuiteError: A plugin cannot be called so.
    """
    expected, found = "", f'"{name}"'
    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name):
        expected = "lower-case letters and digits, words joined by - or _, a letter first"
    elif name in installed():
        expected = "a name that no installed backend has"
        found = f"{found} ({distribution(installed()[name])})"
    if expected:
        raise SuiteError("command line", [Problem(where="NAME", expected=expected, found=found)])
    return f"benchharness-{name.replace('_', '-')}"


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Write the package of a backend into a new or empty folder and return its files.

    Raises:
        RunError: The folder holds something, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder}: expected no such folder or an empty one, found something in it; "
            "choose another NAME, or another folder with --dir"
        )
    targets = {source: folder / renamed(str(source), name) for source in sources()}
    with writable(folder, elsewhere="choose another folder with --dir"):
        for source, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            text = (TEMPLATE / source).read_text(encoding="utf-8")
            target.write_text(renamed(text, name), encoding="utf-8")
    return list(targets.values())


def sources() -> list[Path]:
    """Return the files of the template, paths below its folder."""
    files = (path for path in TEMPLATE.rglob("*") if path.is_file())
    return sorted(path.relative_to(TEMPLATE) for path in files if "__pycache__" not in path.parts)


def renamed(text: str, name: str) -> str:
    """Return a text, or a path, of the template as that of a backend of another name."""
    module = name.replace("-", "_")
    text = text.replace("benchharness_newbackend", f"benchharness_{module}")
    text = text.replace("benchharness-newbackend", f"benchharness-{name.replace('_', '-')}")
    text = text.replace("newbackend", name)
    return re.sub(r"\bNew(?=[A-Z])", "".join(map(str.capitalize, module.split("_"))), text)

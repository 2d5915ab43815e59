"""The map of the tests is complete: every module is on it, and it names none that is gone."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_the_readme_names_every_module_and_no_other():
    """Test modules and helpers alike."""
    text = (TESTS / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    modules = {file.name for file in TESTS.glob("*.py")}
    benchmarks = {f"benchmarks/{file.name}" for file in TESTS.glob("benchmarks/test_*.py")}

    assert named == modules | benchmarks


def test_what_contributing_names_is_in_the_code():
    """Every file, and every name of a function, class, constant or variable in backticks."""
    top = TESTS.parent
    text = re.sub(r"```.*?```", "", (top / "CONTRIBUTING.md").read_text("utf-8"), flags=re.S)
    code = {file: file.read_text("utf-8") for file in top.glob("benchharness/**/*.py")}
    files = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    names = set(re.findall(r"`((?:\w+\.)*\w+)`", text)) - files
    known = {file.relative_to(top / "benchharness").as_posix() for file in code}
    everything = "\n".join(code.values())

    # NAME stands for any; files of backends and tools are beside the package.
    missing = {
        file
        for file in files - {file for file in files if "NAME" in file}
        if file not in known and not (top / file).exists() and not list(top.glob(f"*/*/**/{file}"))
    }
    unknown = {
        name
        for name in names
        if not re.search(rf"\b{name.rpartition('.')[2]}\b", everything)
        and not (top / "benchharness" / name).exists()
    }

    assert len(files) > 40
    assert len(names) > 40
    assert (missing, unknown) == (set(), set())

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

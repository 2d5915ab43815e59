"""Claims of a report are wrong no more often than documented, by short simulations."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def load() -> ModuleType:
    """Return the tool, which is no package's module."""
    spec = importlib.util.spec_from_file_location(
        "measure_claims", ROOT / "tools/measure_claims.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure_claims"] = module
    spec.loader.exec_module(module)
    return module


TOOL = load()
TABLES = {table.title: table for table in TOOL.tables()}


@pytest.mark.parametrize("title", TABLES)
def test_claims_keep_their_limits(title):
    """A twentieth of the repetitions, with fixed draws."""
    beyond = [
        (figure.scenario.conditions, figure.text)
        for figure in TOOL.figures(TABLES[title], share=0.05)
        if not figure.is_kept
    ]

    assert not beyond


@pytest.mark.parametrize("title", TABLES)
def test_every_scenario_has_its_row_in_the_docs(title):
    """What is measured is published, under its limit."""
    text = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| (.+) \| [^|]+ \|$", text, flags=re.MULTILINE))

    assert f"**{title}**" in text
    for scenario in TABLES[title].scenarios:
        assert " | ".join(scenario.conditions) in rows


def test_a_rule_that_is_too_lenient_is_caught():
    """Reports at a level of 20 % exceed the limit of the first scenario."""
    table = TABLES[next(iter(TABLES))]
    careless = TOOL.Scenario(
        conditions=("careless",),
        measure=lambda rng: rng.random() < 0.2,
        repetitions=200,
        at_most=0.05,
    )

    (figure,) = TOOL.figures(TOOL.replace(table, scenarios=(careless,)))

    assert not figure.is_kept

"""A short campaign of kills: the tool that counts what is lost finds nothing, and would find it."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchharness.results import journal

pytestmark = pytest.mark.slow

TOOL = Path(__file__).parent.parent / "tools/kill_campaign.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """Return the tool, which is no package's module."""
    spec = importlib.util.spec_from_file_location("kill_campaign", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill_campaign"] = module
    spec.loader.exec_module(module)
    return module


def test_nothing_is_lost_when_workers_and_runs_are_killed(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two workers and two runs die at random moments; all that was finished stays, once."""
    monkeypatch.setenv("BENCHHARNESS_CACHE", str(tmp_path / "cache"))
    campaign = tool.Campaign(folder=tmp_path, trials=1, generator=random.Random(1))

    losses = campaign.run(workers=2, parents=2)

    assert losses.workers_killed >= 2
    assert losses.parents_killed >= 2
    assert losses.is_whole, losses
    # The campaign would have noticed a trial run twice, and a table that differs.
    path = tmp_path / "run0/victim/latest/records.jsonl"
    first, *_ = [one for one in journal.read(path)[0] if one["status"] == "ok"]
    for _ in range(2):
        journal.append(path, first | {"seed": 99})
    campaign._judge(tmp_path / "run0", tmp_path / "calm")
    assert losses.run_twice == 1
    assert losses.tables_unlike
    assert "trials.csv: seed" in losses.unlike

"""The page of a history holds everything, asks nobody, and lets no name act as markup."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from history_runs import PLANTED, speeds, write_run, write_runs

from benchharness.cli.history_command import command
from benchharness.errors import RunError
from benchharness.history.history import Series, history_of
from benchharness.history.runs import Choice, read_runs
from benchharness.report import plugins
from benchharness.report.html.curves import timeline
from benchharness.report.html.page import history_page

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def series(tmp_path: Path) -> Series:
    """Return a series with one step."""
    write_runs(tmp_path, speeds(slower=1.2))
    (found,) = history_of(read_runs([tmp_path / "pets"], Choice()).readings, source="s").series
    return found


def test_command_writes_the_page(tmp_path: Path):
    """One file that fetches nothing, with the step in words and every run in its table."""
    write_runs(tmp_path, speeds(slower=1.2))
    page = tmp_path / "history.html"

    result = CliRunner().invoke(command, ["--results", str(tmp_path), "--html", str(page)])

    html = page.read_text(encoding="utf-8")
    assert f"page: {page}" in result.stderr
    assert "20.4% slower since 2026-11-10 06:30" in html
    assert html.count("<td>2026-11-") == 14
    assert "default-src 'none'" in html.replace("&#39;", "'")
    markup = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    assert not re.search(r'(src|href)="(?!data:)', markup)


def test_names_do_not_act_as_markup(tmp_path: Path):
    """Whatever a suite, a machine or a version is called."""
    for place in range(2):
        facts = {"machine": EVIL, "benchharness": EVIL}
        write_run(tmp_path, place, 100.0, facts=facts, backend=EVIL, benchmark=EVIL)
    history = history_of(read_runs([tmp_path / "pets"], Choice()).readings, source=EVIL)

    html = history_page(history, vega="")

    assert "alert(1)" in html
    assert EVIL not in html


def test_chart_has_every_run_level_and_step(series: Series):
    """In the order of time; the dashed line stands between the two runs."""
    spec = timeline(series, name="one").as_dict()
    data = spec["datasets"]

    assert [row["value"] for row in data["runs"]] == [point.value for point in series.points]
    assert [row["place"] for row in data["steps"]] == [PLANTED - 0.5]
    assert [(row["text"], row["mood"]) for row in data["steps"]] == [("20.4% slower", "worse")]
    assert len(data["levels"]) == 2


def test_chart_can_be_drawn(series: Series):
    """By the library that browsers use, without a browser."""
    vl_convert = pytest.importorskip("vl_convert")
    spec = timeline(series, name="one").as_dict()

    svg = vl_convert.vegalite_to_svg(json.dumps(spec | {"width": 600}))

    assert "20.4% slower" in svg
    assert "2026-11-02" in svg


@pytest.mark.parametrize(
    ("absent", "page", "told"),
    [
        (["altair"], "h.html", r"pip install 'benchharness\[report\]'"),
        ([], "nowhere/h.html", "cannot write "),
    ],
)
def test_a_page_that_cannot_be_made_is_said_after_the_tables(
    tmp_path: Path, monkeypatch, absent: list[str], page: str, told: str
):
    """Without the libraries, or where its folder is missing: in a line, with what helps."""
    write_runs(tmp_path, speeds())
    monkeypatch.setattr(plugins, "missing_libraries", lambda: absent)
    words = ["--results", str(tmp_path), "--html", str(tmp_path / page)]

    result = CliRunner().invoke(command, words, standalone_mode=False)

    assert isinstance(result.exception, RunError)
    assert re.search(told, str(result.exception))
    assert "14 runs" in result.stdout

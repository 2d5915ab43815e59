"""The page holds everything, asks nobody for anything, and lets no name act as markup."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from report_runs import RUN, certificates, failures, feeding, trials, write_page
from results_records import record

from benchharness.cli.report_command import command, publish
from benchharness.files import atomic_write_bytes
from benchharness.report import plugins
from benchharness.report.html.page import embedded, report_page
from benchharness.report.plugins import write_reports
from benchharness.report.table import Report
from benchharness.results.run_folder import RunFolder
from benchharness.results.tables import TABLES, csv_text

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("pages")]

EVIL = """<script>alert("1")</script>'&</title>"""
MEGABYTE = 1_000_000


class Parsed(HTMLParser):
    """A page taken apart: elements with their attributes, and the text outside of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.cells: list[str] = []
        self._open: str = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts.append(data)
        elif self._open != "style":
            self.words.append(data)
            if self._open == "td":
                self.cells[-1] += data

    @property
    def text(self) -> str:
        """All words, single spaces between them."""
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        """Return every value of an attribute."""
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]

    def count(self, tag: str) -> int:
        """Return how many elements of a kind there are."""
        return sum(found == tag for found, _ in self.elements)

    @property
    def charts(self) -> dict[str, Any]:
        """The charts that the page would draw."""
        return json.loads(self.scripts[0])["charts"]


def report(
    records: list[dict[str, Any]],
    *,
    run: dict[str, Any] = RUN,
    proofs: dict[str, Any] | None = None,
) -> Parsed:
    """Return the page of some records, without the drawing library."""
    page = report_page(Report.of(run, records), proofs or {}, vega="/* the library */")
    return Parsed(page)


def sections(parsed: Parsed) -> list[str]:
    """Return the identifiers of a page's sections, from top to bottom."""
    return [
        attrs["id"] or "" for tag, attrs in parsed.elements if tag == "section" and "id" in attrs
    ]


def stored(folder: RunFolder, records: list[dict[str, Any]], run: dict[str, Any] = RUN) -> None:
    """Fill a run's folder."""
    folder.write_run(run)
    for one in records:
        folder.append(one)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """Return an empty run folder."""
    (tmp_path / "records.jsonl").touch()
    return RunFolder.open(tmp_path)


def test_a_page_of_disturbed_trials_says_so_at_every_ratio(folder):
    """In the answers, the charts, the note, and the picture for readers without scripts."""
    records = trials()
    records[0]["metrics"] = records[0]["metrics"] | {"foreign_cores": 1.2}
    stored(folder, records)
    write_page(folder)

    parsed = report(records)

    words = "machine busy: unreliable"
    assert (
        f"no winner between torch and keras in training throughput: 1.50x ({words}; 95 % CI"
        in parsed.text
    )
    assert "faster than" not in parsed.text
    assert "the machine was busy other processes used 1.2 of this machine's 2 cores" in parsed.text
    drawn = {name: json.dumps(chart) for name, chart in parsed.charts.items()}
    assert f"torch 1.50x ({words})" in drawn["ratios"]
    assert "keras (n=3), machine busy" in drawn["throughput-1"]
    assert sum(words in label for label in parsed.attributes("aria-label")) == 2
    svg = (folder.path / "chart.svg").read_text()
    assert f">fine_tune ({words})<" in svg
    assert "no winner between" in svg
    assert f"fine_tune ({words})" in (folder.path / "report.html").read_text()
    assert "busy" not in report(trials()).text.replace("where chance, a busy machine or", "")


def test_the_page_has_every_part_in_order():
    """Answers first, then the table, the charts, and what a stranger needs to judge them."""
    parsed = report(trials(), proofs=certificates())

    assert sections(parsed) == [
        "answers",
        "table",
        "throughput",
        "ratios",
        "learning",
        "accuracy",
        "phases",
        "memory",
        "trials",
        "settings",
        "proofs",
        "environment",
        "downloads",
    ]
    for text in (
        "Cats and dogs",
        "suite pets | profile cpu | a processor (2 cores)",
        "data: cats_dogs (photographs in pets)",
        "torch trains 1.50x faster than keras",
        "numpy 2.4.6",
        "backend torch torch 1.2.3",
    ):
        assert text in parsed.text


def test_names_are_never_markup():
    """Scripts, quotes and ends of elements in any name appear as written, and nothing runs."""
    records = [
        one | {"benchmark": EVIL, "backend": EVIL + one["backend"], "reason": EVIL}
        for one in [*trials(), *failures()]
    ]
    for one in records:
        one["effective"] = {EVIL: EVIL, "engine": one["backend"]}
        one["versions"] = {EVIL: EVIL}
        one["matrix"] = {EVIL: EVIL}
    run = RUN | {"title": EVIL, "resolved": {EVIL: EVIL}, "device": EVIL, "backends": []}
    proofs = certificates()
    proofs["certificates"][0] |= {"benchmark": EVIL, "deviations": [EVIL], "matrix": {EVIL: EVIL}}

    parsed = report(records, run=run, proofs=proofs)

    plain = report(trials(), proofs=certificates())
    assert parsed.count("script") == plain.count("script") == 3
    assert parsed.text.count(EVIL) > 10
    assert any(
        EVIL in chart["datasets"].get("bars-1", [{}])[0].get("name", "")
        for chart in parsed.charts.values()
    )
    assert all(
        "alert" not in value for name in ("onclick", "onload") for value in parsed.attributes(name)
    )


def test_embedded_data_cannot_end_its_script():
    """Neither a tag nor a separator of lines survives as itself, and all of it can be read back."""
    content = {"name": "</script><!--<script>&\u2028"}

    text = embedded(content)

    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == content


@pytest.mark.parametrize(
    "records",
    [trials(), trials(count=1), [*trials(), *failures()], feeding(), failures("skipped"), []],
    ids=["three", "one trial", "some failed", "feeding", "skipped", "none"],
)
def test_nothing_outside_is_asked_for(records):
    """Every address is within the page, and the page forbids itself anything else."""
    parsed = report(records, proofs=certificates())

    addresses = [*parsed.attributes("href"), *parsed.attributes("src")]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    policy = parsed.attributes("content")[0]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_the_styles_fetch_nothing():
    """No style sheet imports another, or names a picture or a font by address."""
    css = report_page(Report.of(RUN, []), {}, vega="")
    style = re.search(r"<style>(.*?)</style>", css, re.DOTALL)

    assert style is not None
    assert not re.search(r"@import|url\(", style[1])


def test_links_within_the_page_lead_somewhere():
    """Every link that starts with # has its target, and no identifier is used twice."""
    parsed = report(trials(), proofs=certificates())

    ids = parsed.attributes("id")
    targets = {link[1:] for link in parsed.attributes("href") if link.startswith("#")}
    assert len(ids) == len(set(ids))
    assert targets <= set(ids)


def test_headings_of_tables_say_what_they_head():
    """Whoever listens to the page hears which column and row a number is in."""
    parsed = report(trials(), proofs=certificates())

    headings = [attrs for tag, attrs in parsed.elements if tag == "th"]
    assert headings
    assert all(attrs.get("scope") in ("col", "row", "colgroup") for attrs in headings)


def test_every_chart_is_told_in_words():
    """A chart's label has its figures."""
    parsed = report(trials())

    labels = {
        attrs["data-chart"]: attrs["aria-label"] or ""
        for _, attrs in parsed.elements
        if "data-chart" in attrs
    }
    assert set(labels) == set(parsed.charts)
    assert "keras 24.0 images/s, 95 % interval" in labels["throughput-1"]
    assert all(label.endswith(".") for label in labels.values())


def test_the_files_inside_are_the_csv_files():
    """Byte for byte what lies in the run's folder."""
    records = trials()

    parsed = report(records)

    links = {
        attrs["download"]: attrs["href"] or ""
        for _, attrs in parsed.elements
        if "download" in attrs
    }
    assert set(links) == set(TABLES)
    for name, rows in TABLES.items():
        kind, _, code = links[name].partition(",")
        assert kind == "data:text/csv;charset=utf-8;base64"
        assert base64.b64decode(code) == csv_text(rows(records)).encode()


def test_a_verdict_leads_to_its_figures():
    """The table's cell links to the certificate, which holds each distance and the tolerance."""
    parsed = report(trials(), proofs=certificates())

    assert "#proof-1" in parsed.attributes("href")
    assert "fine_tune, keras and torch proven" in parsed.text
    assert "logits 1.0e-07 1.0e-07 - 2e-05 the network's output" in parsed.text


def test_a_verdict_leads_to_the_figures_of_its_machine():
    """Of a run on two kinds of machine, each with its certificate."""
    (pair,) = certificates()["certificates"]
    pairs = [pair | {"machine": machine} for machine in ("small", "large")]
    parsed = report(
        [one | {"machine": "large"} for one in trials()],
        proofs=certificates() | {"certificates": pairs},
    )

    assert "#proof-2" in parsed.attributes("href")
    assert "#proof-1" not in parsed.attributes("href")


def test_a_refused_proof_stands_open():
    """What failed need not be looked for."""
    refused, proven = (report(trials(), proofs=certificates(off)) for off in (3e-3, 1e-7))

    assert "3.0e-03 beyond the tolerance" in refused.text
    assert "partial: logits (3.0e-03 over 2e-05)" in refused.text
    assert ("open" in dict(_proof(refused)), "open" in dict(_proof(proven))) == (True, False)


def test_without_a_certificate_the_page_says_so():
    """No verdict, no link, one sentence."""
    records = trials(proof="", proofs={})

    parsed = report(records)

    assert "This run has no certificate" in parsed.text
    assert not [link for link in parsed.attributes("href") if link.startswith("#proof-")]


def test_native_rows_have_no_certificate():
    """Its link would lead to the proof of other work."""
    native = trials(track="native", proof="not comparable: native track", proofs={})

    parsed = report([*trials(), *native], proofs=certificates())

    assert "fine_tune (native)" in parsed.text
    assert _classes(parsed, "not comparable") == ["first"]
    assert parsed.attributes("href").count("#proof-1") == 1


@pytest.mark.parametrize(
    ("status", "word"), [("failed", "failed"), ("oom", "no memory"), ("diverged", "diverged")]
)
def test_a_run_in_which_nothing_came_to_an_end_has_a_page(status, word):
    """The reason is there; there are no charts, and no library to draw them."""
    parsed = report(failures(status, "it broke in epoch 4"))

    assert word in parsed.text
    assert "it broke in epoch 4" in parsed.text
    assert "there is nothing to compare" in parsed.text
    assert parsed.count("script") == 1


def test_a_run_without_trials_has_a_page():
    """One sentence, and the environment."""
    parsed = report([])

    assert "No trial has finished." in parsed.text
    assert sections(parsed) == ["answers", "environment"]


@pytest.mark.parametrize(
    ("records", "drawn", "absent"),
    [
        ([*trials(), *failures()], {"throughput-1", "ratios"}, {"throughput-2"}),
        (trials(backends=["torch"]), {"throughput-1"}, {"ratios"}),
        (feeding(), {"throughput-1"}, {"accuracy", "learning-1-loss"}),
        (
            [*trials(matrix={"batch_size": 5}), *trials(matrix={"batch_size": 10})],
            {"throughput-1", "throughput-2"},
            set(),
        ),
    ],
    ids=["beside failures", "one backend", "feeding alone", "points of a matrix"],
)
def test_what_can_be_drawn_is_and_nothing_else(records, drawn, absent):
    """Every row of the table is in it, drawn or not."""
    parsed = report(records)

    assert drawn <= set(parsed.charts)
    assert not absent & set(parsed.charts)
    assert {row["benchmark"] for row in records} <= set(re.findall(r"\w+", parsed.text))


def test_three_backends_are_all_shown():
    """Two ratios to the first, and three bars."""
    parsed = report(trials(backends=["keras", "torch", "jax"]))

    assert [row["name"] for row in parsed.charts["ratios"]["datasets"]["cells"]] == [
        "fine_tune, torch",
        "fine_tune, jax",
    ]
    assert len(parsed.charts["throughput-1"]["datasets"]["bars-1"]) == 3


@pytest.mark.parametrize(
    ("dataset", "weights", "is_marked"),
    [
        ({"name": "drawn", "is_real": False}, None, True),
        ({"name": "pets", "is_real": True}, {"is_random": True}, True),
        ({"name": "pets", "is_real": True}, {"is_random": False, "origin": "vgg16"}, False),
    ],
)
def test_make_believe_is_marked(dataset, weights, is_marked):
    """Drawn pictures and random weights cannot be taken for real ones."""
    parsed = report(trials(), run=RUN | {"dataset": dataset, "weights": weights})

    assert ("make-believe" in parsed.text) is is_marked


def test_settings_that_differ_come_first():
    """What decides the work before what decides speed, and what agrees behind a fold."""
    records = trials()
    for one in records:
        one["effective"] = {"layout": "last", "threads": 2, "precision": "float32"}
        if one["backend"] == "torch":
            one["effective"] |= {"threads": 1, "precision": "bfloat16"}

    text = report(records).text

    work, speed = "precision decides the work float32 bfloat16", "threads 2 1 everywhere"
    same = "1 settings that agree setting keras torch where layout last last everywhere"
    assert 0 < text.index(work) < text.index(speed) < text.index(same)


def test_the_report_of_a_run_is_three_files(folder):
    """A page, and the main chart twice; small enough to be sent."""
    stored(folder, trials())

    paths = write_page(folder)

    assert set(paths) == {"report.html", "chart.svg", "chart.png"}
    assert paths["report.html"].stat().st_size < 2.5 * MEGABYTE
    assert "vegaEmbed" in paths["report.html"].read_text()
    svg = paths["chart.svg"].read_text()
    for text in ("Cats and dogs", "torch trains 1.50x faster than keras", "24.0 images/s"):
        assert text in svg
    assert "var(--" not in svg
    with Image.open(paths["chart.png"]) as png:
        assert png.width > 1400


def test_a_run_without_speeds_has_no_chart(folder):
    """A page is written all the same."""
    stored(folder, failures())

    assert set(write_page(folder)) == {"report.html"}


def test_a_damaged_certificate_is_told(folder):
    """With the file and the remedy."""
    stored(folder, trials())
    (folder.path / "certificate.json").write_text("{")

    told: list[str] = []
    written = write_reports(folder, tell=told.append)

    damage, page = told
    assert re.search(r"WARNING: \S+certificate\.json: expected JSON, found: .*remove", damage)
    assert page.endswith("nothing written: no report.html, because certificate.json cannot be read")
    # A page without its proofs would deny them.
    assert [file.name for file in written] == ["report.md"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "{}/chart.svg: "),
        (ValueError("no font\nat line 3\nof a script"), "ValueError: no font"),
        (ValueError(""), "ValueError: "),
    ],
)
def test_a_page_that_fails_is_one_line_and_takes_no_other_report(
    folder, monkeypatch, error: Exception, told: str
):
    """A full disk with the file's name, a library with the first line of what it says."""

    def fails(path: Path, content: bytes) -> None:
        if path.suffix == ".svg":
            raise error
        atomic_write_bytes(path, content)

    monkeypatch.setattr(plugins, "atomic_write_bytes", fails)
    stored(folder, trials())

    lines: list[str] = []
    written = write_reports(folder, tell=lines.append)

    (line,) = lines
    assert line.startswith("WARNING: report html (benchharness ")
    assert f"nothing written: {told.format(folder.path)}" in line
    assert "\n" not in line
    assert [file.name for file in written] == ["report.md"]


def test_an_installation_without_the_page_says_so(folder, monkeypatch):
    """As an editable one of older code."""
    monkeypatch.setattr("benchharness.plugins.extensions", lambda kind: {})
    stored(folder, trials())

    lines: list[str] = []
    page_file = publish(folder.path, tell=lines.append)

    assert page_file is None
    assert [line for line in lines if "no report.html: benchharness is newer than" in line]


def test_the_command_writes_the_page(folder):
    """``benchharness report RUN`` prints the table and leaves the page beside it."""
    stored(folder, trials())

    done = CliRunner().invoke(command, [str(folder.path)], standalone_mode=False)

    assert done.exception is None
    assert "torch trains 1.50x" in " ".join(done.output.split())
    assert str(folder.path / "report.html") in done.output
    assert (folder.path / "report.html").is_file()


def test_without_the_libraries_the_run_goes_on(folder, monkeypatch):
    """One line says what is missing and how to get it."""
    monkeypatch.setattr(plugins, "LIBRARIES", {"altair": "no_such_module"})
    stored(folder, [record()])

    said: list[str] = []
    page_file = publish(folder.path, tell=said.append)

    (line,) = said
    assert page_file is None
    assert "no report.html, because these are not installed: altair; pip install" in line
    assert line.endswith("then benchharness report RUN")
    assert not (folder.path / "report.html").exists()
    assert (folder.path / "report.md").read_text().startswith("### ")


def _classes(parsed: Parsed, text: str) -> list[str]:
    """Return the looks of the table's cells with a text."""
    cells = [attrs.get("class") or "" for tag, attrs in parsed.elements if tag == "td"]
    return [" ".join(cells[i].split()) for i, found in enumerate(parsed.cells) if found == text]


def _proof(parsed: Parsed) -> dict[str, str | None]:
    return next(attrs for _, attrs in parsed.elements if attrs.get("id") == "proof-1")


@pytest.mark.parametrize("name", ["report", "run"])
def test_commands_import_no_drawing_library_before_they_draw(name):
    """Help and previews stay instant."""
    script = (
        f"import benchharness.cli.{name}_command, benchharness.report.html.plugin, sys\n"
        "benchharness.report.plugins.missing_libraries()\n"
        "print(sorted({'altair', 'vl_convert', 'jinja2', 'pandas'} & set(sys.modules)))\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.stdout.strip() == "[]", done.stderr

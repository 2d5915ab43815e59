"""The page in a real browser: it draws, asks nobody, follows the theme, fits and prints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_runs import RUN, certificates, failures, feeding, trials

from benchharness.report.html.page import write_report
from benchharness.results.run_folder import RunFolder
from benchharness.results.tables import write_csv_files

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return the folder of a run with its report: three backends, two tracks, failures."""
    path = tmp_path_factory.mktemp("run")
    (path / "records.jsonl").touch()
    run = RunFolder.open(path)
    backends = ["keras", "torch", "jax"]
    native = trials(backends=backends, track="native", proofs={}, proof="")
    native = [one | {"id": f"native {one['id']}"} for one in native]
    records = [*trials(backends=backends), *native, *feeding(), *failures(reason="<b>'\"&")]
    run.write_run(RUN | {"title": "Cats & <dogs>"})
    run.write_certificates(certificates(3e-3))
    for one in records:
        run.append(one)
    write_csv_files(path, records)
    write_report(run)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=300_000)
        yield chromium
        chromium.close()


class Visit:
    """A page that was opened and has drawn itself, with all that it said and asked for."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(300_000)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-drawn=yes]")

    def count(self, selector: str) -> int:
        """Return how many elements there are."""
        return self.page.locator(selector).count()

    def paper(self) -> str:
        """Return the colour behind the text."""
        return self.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

    def ink(self) -> str:
        """Return the colour of the names within the first chart."""
        text = "document.querySelector('[data-chart] svg .mark-text.role-mark text')"
        return self.page.evaluate(f"getComputedStyle({text}).fill")


@pytest.fixture(scope="module")
def visit(browser, folder) -> Iterator[Visit]:
    """Return the report on a desk, in the light."""
    opened = Visit(browser, folder / "report.html", viewport=DESK, color_scheme="light")
    yield opened
    opened.page.close()


def test_it_says_nothing_and_asks_for_nothing_but_itself(visit, folder):
    """No error, no warning, and one request: the file."""
    assert visit.said == []
    assert visit.asked == [(folder / "report.html").as_uri()]


def test_every_chart_is_drawn(visit):
    """With marks of data in it, not only axes."""
    charts = visit.count("[data-chart]")

    assert charts == 14
    assert visit.count("[data-chart] svg") == charts
    empty = visit.page.evaluate(
        "[...document.querySelectorAll('[data-chart]')].filter(place => !place.querySelector("
        "'.mark-rect path, .mark-symbol path, .mark-line path')).map(place => place.dataset.chart)"
    )
    assert empty == []


def test_the_theme_follows_the_system_and_the_button(browser, folder):
    """Dark by preference, light at a press; the charts go along without being drawn again."""
    dark = Visit(browser, folder / "report.html", viewport=DESK, color_scheme="dark")
    before = dark.paper(), dark.ink()

    dark.page.click("#theme")

    after = dark.paper(), dark.ink()
    dark.page.close()
    assert before == ("rgb(21, 24, 28)", "rgb(230, 232, 234)")
    assert after == ("rgb(255, 255, 255)", "rgb(28, 33, 38)")


def test_nothing_is_wider_than_a_telephone(browser, folder):
    """Tables scroll inside themselves, charts take the width there is."""
    phone = Visit(browser, folder / "report.html", viewport=PHONE)
    whole = phone.page.evaluate("document.documentElement.scrollWidth")
    charts = phone.page.evaluate(
        "Math.max(...[...document.querySelectorAll('[data-chart] svg')]"
        ".map(chart => chart.getBoundingClientRect().right))"
    )
    phone.page.close()

    assert whole == PHONE["width"]
    assert charts <= PHONE["width"]


def test_the_csv_files_can_be_saved(visit, folder):
    """The same bytes as in the run's folder."""
    for name in ("trials.csv", "epochs.csv", "summary.csv"):
        with visit.page.expect_download() as saving:
            visit.page.click(f"a[download='{name}']")

        assert saving.value.suggested_filename == name
        assert Path(saving.value.path()).read_bytes() == (folder / name).read_bytes()


def test_paper_has_every_chart_whole_and_light(browser, folder, tmp_path):
    """From the dark theme: light colours, no button, folds open, no chart beyond the edge."""
    dark = Visit(browser, folder / "report.html", viewport=DESK, color_scheme="dark")
    dark.page.emulate_media(media="print")
    dark.page.set_viewport_size({"width": 700, "height": 990})
    dark.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    colours = dark.paper(), dark.ink()
    right = dark.page.evaluate(
        "Math.max(...[...document.querySelectorAll('[data-chart] svg')]"
        ".map(chart => chart.getBoundingClientRect().right))"
    )
    folded = dark.count("details:not([open]):not(.long)")
    hidden = dark.page.locator("#theme").is_hidden()
    pdf = dark.page.pdf(path=tmp_path / "report.pdf", format="A4")
    dark.page.close()

    assert colours == ("rgb(255, 255, 255)", "rgb(28, 33, 38)")
    assert right <= 700
    assert (folded, hidden) == (0, True)
    assert pdf.startswith(b"%PDF")


def test_names_show_as_they_are_written(visit):
    """Markup in titles and reasons is text to the browser."""
    assert visit.page.title() == "Cats & <dogs>"
    assert visit.page.locator("h1").inner_text() == "Cats & <dogs>"
    assert "<b>'\"&" in visit.page.locator(".notes").inner_text()


def test_without_scripts_the_main_chart_is_there(browser, folder):
    """As a picture, with the tables around it."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "report.html").as_uri())
    is_seen = page.locator("noscript svg, .poster svg").first.is_visible()
    context.close()

    assert is_seen


def test_a_verdict_opens_its_certificate(visit):
    """The link of the table leads to the figures, unfolded."""
    visit.page.click(".results td a")

    assert visit.page.url.endswith("#proof-1")
    assert visit.page.locator("#proof-1 table").is_visible()

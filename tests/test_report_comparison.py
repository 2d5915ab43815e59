"""A comparison on a terminal, in Markdown and as JUnit XML."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from benchharness.compare.comparison import CellComparison, Comparison
from benchharness.compare.noise import Noise, NoiseReport
from benchharness.compare.sampling import Scatter
from benchharness.compare.verdict import Verdict
from benchharness.report.comparison import (
    headline,
    junit,
    markdown,
    noise_line,
    noise_table,
    plain_text,
)


def verdict(word: str = "same", **changes: Any) -> Verdict:
    """Return what is said of one column."""
    known: dict[str, Any] = {
        "column": "train_images_per_s",
        "kind": "speed",
        "word": word,
        "change": 1.121,
        "low": 1.094,
        "high": 1.153,
        "pairs": 8,
        "threshold": 0.05,
        "level": 0.0171,
    }
    return Verdict(**known | changes)


def cell(*verdicts: Verdict, label: str = "cnn torch", **changes: Any) -> CellComparison:
    """Return a cell of which something is said."""
    return CellComparison(label=label, identity={"cell": label}, verdicts=verdicts, **changes)


def comparison(*cells: CellComparison, **changes: Any) -> Comparison:
    """Return a comparison of two revisions."""
    known: dict[str, Any] = {
        "suite": "smoke",
        "a": "HEAD~1 (0123abc)",
        "b": "HEAD (4567def)",
        "how": "interleaved",
        "machine": "a processor (2 cores)",
        "minutes": 4.25,
        "folder": "results/comparisons/smoke/now",
        "cells": cells,
    }
    return Comparison(**known | changes)


TOP1 = verdict(
    "undecidable",
    column="test_top1",
    kind="accuracy",
    change=0.01,
    low=-0.02,
    high=0.04,
    threshold=0.02,
    is_required=False,
)
SAME = verdict("same", change=1.001, low=0.99, high=1.012)
OPEN = verdict("undecidable", change=1.03, low=0.97, high=1.1)
MISSED = verdict(
    "missed",
    column="target_misses",
    kind="misses",
    change=None,
    low=None,
    high=None,
    misses=((0, 12), (6, 12)),
    is_required=False,
)
NEVER = verdict("slower", column="time_to_top1_s", change=None, low=None, high=None)
BROKEN = cell(label="fine_tune keras", failure="B, trial 1: oom: no memory left")
SKIPPED = cell(label="native torch", failure="A, trial 1: skipped: it cannot", is_skipped=True)


@pytest.mark.parametrize(
    ("cells", "code", "line"),
    [
        ([cell(SAME)], 0, "no regression in 1 figure of 1 cell"),
        (
            [cell(SAME, verdict("faster", change=0.8))],
            0,
            "no regression in 2 figures of 1 cell; cnn torch training 25.0% faster",
        ),
        ([cell(verdict("slower"))], 3, "REGRESSION: cnn torch training 12.1% slower"),
        (
            [cell(verdict("more", column="peak_host_bytes", kind="amount")), BROKEN],
            3,
            "REGRESSION: cnn torch host memory 12.1% more; failed: fine_tune keras",
        ),
        (
            [cell(verdict("worse", column="test_top1", kind="accuracy", change=0.05))],
            3,
            "REGRESSION: cnn torch test top-1 0.050 worse",
        ),
        (
            [cell(NEVER, MISSED)],
            3,
            "REGRESSION: cnn torch time to target slower, cnn torch misses its target in 6 of 12 "
            "trials, A in 0 of 12",
        ),
        ([cell(OPEN), cell(SAME)], 4, "UNDECIDABLE: cnn torch training; no regression in the rest"),
        ([cell(TOP1, SAME)], 0, "no regression in 2 figures of 1 cell"),
        ([BROKEN, cell(OPEN)], 1, "FAILED: fine_tune keras cannot be compared"),
        ([SKIPPED], 0, "nothing to compare"),
        ([SKIPPED, cell(SAME)], 0, "no regression in 1 figure of 2 cells"),
    ],
)
def test_one_line_says_it_all_and_agrees_with_the_exit_code(cells, code: int, line: str):
    """The worst first: a regression, what failed, what is undecided."""
    found = comparison(*cells)

    assert found.exit_code == code
    assert headline(found).startswith(line)


def test_many_regressions_are_counted():
    """Three are named."""
    slower = [cell(verdict("slower"), label=f"cell {number}") for number in range(5)]

    assert headline(comparison(*slower)).endswith("cell 2 training 12.1% slower and 2 more")


@pytest.mark.parametrize("width", [80, 100, 140])
def test_each_cell_and_column_has_a_line_that_fits(width: int):
    """A long name takes more than one; nothing is cut off."""
    long = cell(SAME, TOP1, label="bottleneck_published batch_size=32 keras-jax (native)")

    text = plain_text(comparison(cell(verdict("slower")), long, BROKEN), width=width)

    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert any(
        "training" in line and "slower" in line and "1.094 to 1.153" in line for line in lines
    )
    assert any("test top-1" in line and "undecidable *" in line for line in lines)
    assert "".join(text.split()).count("1.050") == 2
    assert "fine_tune keras: B, trial 1: oom: no memory left" in text
    assert "*: informational; use --column NAME to require a decision" in text
    assert "…" not in text


def test_missed_targets_have_a_line_and_a_sentence():
    """Their numbers on both sides, and whether chance explains them."""
    chance = verdict(**{"word": "undecidable", "misses": ((1, 12), (2, 12))} | _misses())

    text = plain_text(comparison(cell(NEVER, MISSED), cell(chance, label="mlp torch")), width=120)

    assert "target misses missed" in " ".join(text.split())
    assert "0 of 12 : 6 of 12" in text
    assert (
        "cnn torch: B misses its target in 6 of 12 trials, A in 0 of 12, which is more than chance"
        in text
    )
    assert (
        "mlp torch: B misses its target in 2 of 12 trials, A in 1 of 12, which may be chance"
        in (" ".join(text.split()))
    )


def _misses() -> dict[str, Any]:
    return {
        "column": "target_misses",
        "kind": "misses",
        "change": None,
        "low": None,
        "high": None,
        "is_required": False,
    }


def test_the_level_of_a_look_is_printed_with_what_all_looks_make_of_it():
    """In percent, and once where cells were judged alike."""
    text = " ".join(plain_text(comparison(cell(SAME)), width=120).split())

    assert (
        "level: each end of an interval errs in 1.71% of looks, and all looks planned together in "
        "5% of comparisons at most"
    ) in text


@pytest.mark.parametrize(
    ("within", "between", "best", "advice"),
    [
        (0.01, 0.03, 2, "more pairs help, longer trials hardly"),
        (0.06, 0.01, 48, "longer trials help most, of about 48 epochs"),
        (0.06, 0.0, None, "longer trials help as much as more pairs"),
    ],
)
def test_an_undecided_cell_says_whether_more_trials_or_longer_ones_help(
    within: float, between: float, best: int | None, advice: str
):
    """From the scatter within and between trials; a decided cell needs no advice."""
    scatter = Scatter(within=within, between=between, epochs=12, best_epochs=best)

    text = plain_text(comparison(cell(OPEN, scatter=scatter)), width=200)
    decided = plain_text(comparison(cell(SAME, scatter=scatter)), width=200)

    assert f"scatters by {between:.1%} between trials" in text
    assert advice in text
    assert "scatters" not in decided


def test_what_the_sides_are_and_how_long_it_took_is_said():
    """And whether the work was proven to be equal."""
    text = plain_text(comparison(cell(SAME, proof="proven")), width=140)

    assert "A HEAD~1 (0123abc), B HEAD (4567def), run in turn, 4.2 minutes" in text
    assert "equal work proven" in text
    assert "proven" not in plain_text(comparison(cell(SAME)))


def test_markdown_is_a_table_with_what_is_worse_in_bold():
    """Names of benchmarks are no markup."""
    text = markdown(comparison(cell(verdict("slower"), label="fine_tune|a torch")))

    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert text.startswith("### ❌ REGRESSION: ")
    assert rows[0] == "| cell | column | verdict | change | interval | pairs | limit |"
    assert rows[2].startswith(r"| fine\_tune\|a torch | training | **slower** | 1.121 |")
    assert len(rows) == 3


def test_markdown_shows_what_changed_and_folds_the_rest():
    """Short enough for a comment: noise and the command that repeats it in sight, too."""
    found = comparison(cell(verdict("slower"), SAME), cell(SAME, label="mlp torch"))

    text = markdown(found, command="benchharness compare rev:main --suite ci.toml")

    seen, _, folded = text.partition("<details>")
    assert len([line for line in seen.splitlines() if line.startswith("|")]) == 3
    assert len([line for line in folded.splitlines() if line.startswith("|")]) == 5
    assert "Noise of this machine: intervals of speeds are ± " in seen
    assert "Repeat it: `benchharness compare rev:main --suite ci.toml`" in seen
    assert folded.rstrip().endswith("</details>")


def test_junit_has_a_test_for_each_cell_and_column():
    """Worse and undecided fail, failed trials are errors, what nobody can do is skipped."""
    found = comparison(cell(verdict("slower"), TOP1, SAME), cell(OPEN), BROKEN, SKIPPED)

    suite = ElementTree.fromstring(junit(found)).find("testsuite")

    assert suite is not None
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "6", "failures": "2", "errors": "1", "skipped": "2", "time": "255.0"}
    assert [case.get("name") for case in suite.findall("testcase")] == [
        "train_images_per_s",
        "test_top1",
        "train_images_per_s",
        "train_images_per_s",
        "trials",
        "trials",
    ]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("type") == "slower"
    assert "change 1.121, interval 1.094 to 1.153" in str(failure.get("message"))


def test_a_busy_machine_qualifies_a_comparison_wherever_it_is_told():
    """The headline, Markdown, and the message of each test in JUnit; not on a quiet machine."""
    words = "machine busy during 3 trials: small changes are unreliable"
    quiet = comparison(cell(verdict("slower")))
    busy = comparison(cell(verdict("slower"), SAME), disturbed=3)
    suite = ElementTree.fromstring(junit(busy)).find("testsuite")
    assert suite is not None
    (failure,) = suite.iter("failure")

    assert headline(busy) == f"REGRESSION: cnn torch training 12.1% slower ({words})"
    assert words in " ".join(plain_text(busy).split())
    assert words in markdown(busy)
    assert failure.attrib["message"].endswith(f"; {words}")
    assert words in (suite.findtext("testcase/system-out") or "")
    assert words in (suite.findtext("system-out") or "")
    assert busy.as_dict()["disturbed"] == 3
    assert "busy" not in headline(quiet) + markdown(quiet) + junit(quiet)


def test_junit_says_how_often_a_target_is_missed():
    """In place of an interval that there is none of."""
    document = ElementTree.fromstring(junit(comparison(cell(MISSED))))

    failure = document.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("type") == "missed"
    assert failure.get("message") == (
        "B misses its target in 6 of 12 trials, A in 0 of 12, which is more than chance"
    )


def test_junit_survives_what_xml_cannot_hold():
    """A framework's last words may contain anything."""
    broken = cell(failure="B, trial 1: failed: \x1b[31m<boom> & \x00")

    document = ElementTree.fromstring(junit(comparison(broken)))

    error = document.find("testsuite/testcase/error")
    assert error is not None
    assert "<boom> &" in str(error.get("message"))


def test_the_noise_of_a_machine_is_told_by_its_worst_cell():
    """Of speed, for that is what machines are noisy in."""

    def noise(name: str, column: str, reach: float) -> Noise:
        return Noise(
            cell=name,
            column=column,
            pairs=12,
            word="same",
            reach=reach,
            pair_s=7.5,
            needs={0.05: 8},
        )

    report = NoiseReport(
        machine="a processor",
        minutes=3.0,
        found=(
            noise("one", "train_images_per_s", 0.02),
            noise("two", "feed_images_per_s", 0.031),
            noise("two", "peak_host_bytes", 0.5),
        ),
        failures={},
        folder="",
    )

    assert noise_line(report) == (
        "12 pairs show 3.1% of feeding in every cell (a processor, 3.0 minutes)"
    )


def test_the_noise_of_a_cell_comes_with_advice_on_longer_trials(capsys: pytest.CaptureFixture[str]):
    """From the scatter within and between its trials."""
    scatter = Scatter(within=0.06, between=0.01, epochs=12, best_epochs=48)
    report = NoiseReport(
        machine="a processor",
        minutes=3.0,
        found=(),
        failures={},
        folder="",
        scatters={"cnn torch": scatter},
    )

    Console(width=200).print(noise_table(report, width=200))

    assert (
        "cnn torch: B / A of training scatters by 1.0% between trials, and by 1.7% for the 12 "
        "epochs within: longer trials help most, of about 48 epochs"
    ) in capsys.readouterr().out
    assert report.as_dict()["scatters"] == {"cnn torch": asdict(scatter)}

"""The data behind each chart is that of the tables, and every drawing is valid."""

from __future__ import annotations

import math
import re
from itertools import product
from pathlib import Path

import pytest
import vl_convert
from report_runs import PHASES, RUN, failures, feeding, trial, trials

from benchharness.report.html import cells, curves, theme
from benchharness.report.html.chart import Frame, spread_out
from benchharness.report.html.page import charts_of, poster
from benchharness.report.pairs import interval_of
from benchharness.report.rows import backends_of, rows_of
from benchharness.report.table import Report
from benchharness.results.columns import METRICS
from benchharness.results.columns import PHASES as PHASE_COLUMNS
from benchharness.results.run_folder import RunFolder
from benchharness.results.tables import epoch_rows, summary_rows, trial_rows

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
BACKENDS = ["keras", "torch"]
SERIES = theme.series_of(BACKENDS)


def frame(records: list[dict], backends: list[str] | None = None) -> Frame:
    """Return the data of the charts of some records."""
    backends = backends or backends_of(RUN, records)
    return Frame(rows_of(records, backends, cores=2), backends)


def chart_names(records: list[dict]) -> list[str]:
    """Return the names of the charts of some records, from top to bottom."""
    return [chart.name for charts in charts_of(frame(records)).values() for chart in charts]


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb, as WCAG 2 defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_bars_are_the_medians_of_the_summary():
    """And the dots are the trials' own figures."""
    records = trials()
    (chart,) = cells.throughput(frame(records))

    assert not any(bar["high_is_cut"] for bar in chart.data["bars-1"])
    assert [(bar["backend"], bar["value"]) for bar in chart.data["bars-1"]] == [
        (row["backend"], row["train_images_per_s"]) for row in summary_rows(records)
    ]
    assert [
        (dot["backend"], dot["trial"], dot["seed"], dot["value"]) for dot in chart.data["trials-1"]
    ] == [
        (row["backend"], row["trial"], row["seed"], row["train_images_per_s"])
        for row in trial_rows(records)
    ]


def test_feeding_is_drawn_by_its_own_speed():
    """1,000 and 2,000 images/s have the median 1,500."""
    (chart,) = cells.throughput(frame(feeding()))

    assert [bar["value"] for bar in chart.data["bars-1"]] == [1500, 1500]


def test_a_single_trial_has_no_whisker():
    """Nothing can be said of chance."""
    (chart,) = cells.throughput(frame(trials(count=1)))

    assert [bar["high"] for bar in chart.data["bars-1"]] == [None, None]
    assert not any(bar["high_is_cut"] for bar in chart.data["bars-1"])


def test_an_endless_interval_is_cut_and_marked():
    """Two trials far apart reach beyond any axis; the bars stay readable."""
    records = [trial("a", "keras", 1, 10.0), trial("a", "keras", 2, 100.0)]

    (chart,) = cells.throughput(frame(records))

    (bar,) = chart.data["bars-1"]
    assert bar["high"] > 1e4
    assert bar["high_is_cut"]
    assert bar["drawn_high"] == pytest.approx(160)


def test_failed_trials_are_no_dots():
    """They have no speed."""
    records = trials()
    records[0] |= {"status": "failed", "metrics": {}}

    (chart,) = cells.throughput(frame(records))

    assert len(chart.data["trials-1"]) == 5
    assert chart.data["bars-1"][0]["name"] == "keras (n=2)"


def test_an_interval_of_one_cell_holds_its_median():
    """Doubling every value doubles both ends."""
    one, double = interval_of([9.0, 10.0, 11.0]), interval_of([18.0, 20.0, 22.0])

    assert one is not None and double is not None
    assert one.low < 9 < 10 < 11 < one.high
    assert (double.low, double.high) == pytest.approx((2 * one.low, 2 * one.high))
    assert interval_of([9.0]) is None


def test_ratios_are_those_of_the_answers():
    """Of 36/24, 37.25/25 and 34.75/23 the geometric mean is about 1.5."""
    (row,) = cells.ratios_of(frame(trials()))

    assert row["value"] == pytest.approx(math.cbrt(36 / 24 * 37.25 / 25 * 34.75 / 23))
    assert row["low"] < 1.5 < row["high"]
    assert row["figure"] == "torch 1.50x"
    assert row["colour"] == SERIES[1].colour


@pytest.mark.parametrize("proof", ["", "partial: logits (1e-1 over 2e-5)", "not comparable: x"])
def test_without_proof_a_ratio_has_no_winners_colour(proof):
    """However certain it is."""
    records = trials(proof=proof, proofs={"keras": proof, "torch": proof})

    (row,) = cells.ratios_of(frame(records))

    assert row["colour"] == theme.css("even")


BUSY = "machine busy: unreliable"


def disturbed() -> list[dict]:
    """Return trials of two benchmarks, one of them disturbed in one trial of torch."""
    records = [*trials(), *trials("simple_cnn")]
    records[3]["metrics"] = records[3]["metrics"] | {"foreign_cores": 1.2}
    return records


def test_a_disturbed_ratio_is_grey_without_whisker_and_says_so():
    """In the figure, the tooltip, and for those who do not see the chart."""
    busy, quiet = cells.ratios_of(frame(disturbed()))
    (chart,) = cells.ratios(frame(disturbed()))

    assert busy["figure"] == f"torch 1.50x ({BUSY})"
    assert busy["certainty"].startswith(BUSY)
    assert busy["colour"] == theme.css("even")
    assert (busy["low"], busy["high"]) == (None, None)
    assert (quiet["figure"], quiet["colour"]) == ("torch 1.50x", SERIES[1].colour)
    assert f"fine_tune torch 1.50x ({BUSY})" in chart.alt


def test_a_disturbed_speed_says_so():
    """Over the chart, at the backend, and for those who do not see it."""
    busy, quiet = cells.throughput(frame(disturbed()))

    assert [bar["name"] for bar in busy.data["bars-1"]] == [
        "keras (n=3)",
        "torch (n=3), machine busy",
    ]
    assert busy.caption == BUSY
    assert busy.alt.count(BUSY) == 1
    assert quiet.caption == ""
    assert "busy" not in quiet.alt + str(quiet.data)


def test_a_slower_backend_lies_left_and_the_first_one_is_named():
    """Seen from torch, keras is 1.50x as slow."""
    (row,) = cells.ratios_of(frame(trials(), BACKENDS[::-1]))

    assert row["value"] == pytest.approx(1 / 1.5, rel=1e-3)
    assert row["figure"] == "torch 1.50x"


def test_two_trials_have_no_whisker():
    """It would pass for a claim."""
    (row,) = cells.ratios_of(frame(trials(count=2)))

    assert (row["low"], row["high"]) == (None, None)
    assert row["colour"] == theme.css("even")


def test_curves_are_the_rows_of_the_epochs_with_seconds_added_up():
    """Trial 1 trains 2.125 s an epoch."""
    records = trials()

    rows = curves.curves_of(frame(records).rows[0], "validation_top1")

    assert [(r["backend"], r["trial"], r["epoch"], r["value"]) for r in rows] == [
        (r["backend"], r["trial"], r["epoch"], r["validation_top1"]) for r in epoch_rows(records)
    ]
    assert [r["seconds"] for r in rows[:3]] == [2.125, 4.25, 6.375]


def test_the_thick_line_is_the_median_of_the_trials():
    """The second of three trials in each epoch."""
    rows = curves.medians_of(frame(trials()).rows[0], "validation_top1")

    assert [r["value"] for r in rows if r["backend"] == "keras"] == [
        0.5 + epoch / 16 + 2 / 64 for epoch in (1, 2, 3)
    ]


def test_a_trial_that_diverged_keeps_the_epochs_it_had():
    """Its line ends where it ended; an unknown value is no point."""
    records = trials()
    records[0] |= {"status": "diverged"}
    records[0]["epochs"][2]["validation_top1"] = None

    rows = curves.curves_of(frame(records).rows[0], "validation_top1")

    own = [r["epoch"] for r in rows if (r["backend"], r["trial"]) == ("keras", 1)]
    assert own == [1, 2]


def test_without_validation_the_training_accuracy_is_drawn_and_called_so():
    """A suite may have no validation images."""
    records = trials()
    for one, epoch in product(records, range(3)):
        one["epochs"][epoch]["validation_top1"] = None

    charts = curves.learning(frame(records))

    assert [chart.caption for chart in charts] == [
        "training top-1 by epoch",
        "training top-1 by seconds of training",
        "training loss by epoch",
    ]


@pytest.mark.parametrize(
    ("values", "moved"),
    [
        ([], []),
        ([1.0, 9.0], [1.0, 9.0]),
        ([5.0, 5.0], [4.0, 6.0]),
        ([5.0, 4.0, 5.0], [20 / 3 - 2, 14 / 3 - 2, 26 / 3 - 2]),
        ([3.0, 1.0, 2.0], [4.0, 0.0, 2.0]),
    ],
)
def test_labels_keep_their_order_and_their_distance(values, moved):
    """Two of one value move apart by half the gap each."""
    assert spread_out(values, gap=2.0) == pytest.approx(moved)


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [((4.0, 20.0), "linear"), ((1.0, 100.0), "log"), ((0.0, 0.0), "linear")],
)
def test_times_far_apart_get_a_logarithmic_axis(seconds, kind):
    """All of them are within it."""
    records = trials(count=1)
    for one, train_s in zip(records, seconds, strict=True):
        one["metrics"] |= {"train_s": train_s}

    (chart,) = curves.accuracy(frame(records))

    scale = chart.drawing.to_dict(validate=False)["layer"][0]["encoding"]["x"]["scale"]
    assert scale["type"] == kind
    assert scale["domain"][0] <= min(seconds) <= max(seconds) < scale["domain"][1]


def test_each_kind_of_machine_has_its_front():
    """Rows of several kinds alternate in the table, and none hides another's."""
    points = [
        {"seconds": seconds, "value": value, "machine": machine}
        for machine, seconds, value in (
            ("slow", 100, 0.9),
            ("fast", 5, 0.95),
            ("slow", 200, 0.95),
            ("fast", 9, 0.94),
        )
    ]

    front = curves.front_of(points)

    assert [(row["machine"], row["seconds"]) for row in front] == [
        ("fast", 5),
        ("slow", 100),
        ("slow", 200),
    ]


def test_the_front_is_what_nobody_beats_in_both():
    """Sooner and more accurate wins; a tie in accuracy goes to the sooner."""
    points = [
        {"seconds": seconds, "value": value, "machine": ""}
        for seconds, value in ((3, 0.9), (1, 0.7), (2, 0.6), (4, 0.9), (5, 0.95), (1, 0.5))
    ]

    front = curves.front_of(points)

    assert [(row["seconds"], row["value"]) for row in front] == [(1, 0.7), (3, 0.9), (5, 0.95)]


def test_time_and_accuracy_are_medians_of_the_trials():
    """7 s of training and 2 s of extraction, which trials that read stored features had too."""
    records = trials(backends=["keras"])
    for one in records:
        one["metrics"] |= {"extract_s": 2.0, "extract_reused": one["trial"] > 1}

    (chart,) = curves.accuracy(frame(records))

    (cell,) = chart.data["cells"]
    assert (cell["seconds"], cell["value"]) == (9.0, 0.875 + 2 / 64)
    assert cell["split"] == "test"


def test_phases_add_up_to_the_wall_time():
    """No second is lost and none counts twice."""
    records = trials()

    totals, parts = cells.phases_of(frame(records))

    for cell in totals:
        seconds = [part["seconds"] for part in parts if part["row"] == cell["row"]]
        assert sum(seconds) == pytest.approx(cell["value"]) == sum(PHASES.values())


def test_stored_features_cost_this_trial_nothing():
    """Their seconds are those of the trial that extracted them."""
    records = trials(backends=["keras"], count=1)
    records[0]["metrics"] |= {"extract_s": 50.0, "extract_reused": True}

    parts = cells.phases_of(frame(records))[1]

    assert sum(part["seconds"] for part in parts) == pytest.approx(sum(PHASES.values()))


def test_the_trial_shown_is_the_middle_one():
    """Of wall times 3, 1 and 2 the 2; of 4, 3, 1 and 2 the 2 as well."""
    records = trials(backends=["keras"])
    for one, wall_s in zip(records, (3.0, 1.0, 2.0), strict=True):
        one["metrics"]["wall_s"] = wall_s
    extra = trial("fine_tune", "keras", 4, 25.0)
    extra["metrics"] = extra["metrics"] | {"wall_s": 4.0}

    for known in (records, [extra, *records]):
        ((cell,), _) = cells.phases_of(frame(known))
        assert (cell["trial"], cell["value"]) == (3, 2.0)


def test_every_phase_of_the_tables_is_of_one_kind():
    """Each phase column is in exactly one group, and no other column is in any."""
    shown = [phase for group in cells.PHASE_GROUPS for phase in group.phases]

    assert sorted(shown) == sorted(PHASE_COLUMNS)


def test_a_column_of_seconds_that_is_no_phase_changes_nothing():
    """Processor time, a best epoch and a time to a target are no parts of the wall time."""
    records = trials(count=1)
    shown = cells.phases_of(frame(records))[1]
    others = {column.name for column in METRICS if column.unit == "s" and not column.is_phase}
    for one in records:
        one["metrics"] |= dict.fromkeys(others - {"wall_s"}, 11.0)

    assert {"cpu_s", "best_epoch_s", "epoch_s", "time_to_top1_s"} <= others
    assert cells.phases_of(frame(records))[1] == shown


@pytest.mark.parametrize(
    "run", sorted(file.parent.name for file in REFERENCE.glob("*/records.jsonl"))
)
def test_phases_of_recorded_trials_add_up_to_their_wall_time(run):
    """Those of every run that is published, other_s included."""
    recorded = frame(RunFolder.open(REFERENCE / run).records()[0])

    totals, parts = cells.phases_of(recorded)

    assert totals
    for cell in totals:
        seconds = sum(part["seconds"] for part in parts if part["row"] == cell["row"])
        assert seconds == pytest.approx(cell["value"], abs=0.01)


def test_our_own_checks_are_a_kind():
    """Replaying a step is neither training nor a remainder."""
    records = trials(backends=["keras"], count=1)
    records[0]["metrics"] |= {"calibrate_s": 0.5, "replay_s": 0.25}

    parts = {part["kind"]: part for part in cells.phases_of(frame(records))[1]}

    assert parts["checking"]["seconds"] == 0.5 + 0.25 + PHASES["ledger_s"]
    assert parts["checking"]["phases"] == "calibrate 0.5 s, replay 0.25 s, ledger 0.0625 s"


def test_memory_is_the_summarys():
    """In bytes as they are, and in 10^9 bytes."""
    records = trials()

    rows = cells.memory_of(frame(records), "peak_host_bytes")

    assert [cell["bytes"] for cell in rows] == [
        row["peak_host_bytes"] for row in summary_rows(records)
    ]
    assert [cell["value"] for cell in rows] == [1.500000002] * 2
    assert cells.memory_of(frame(records), "peak_device_bytes") == []


def test_trials_stand_against_the_median_of_their_cell():
    """24, 25 and 23 over 24."""
    rows = cells.relative_speeds(frame(trials(backends=["keras"])))

    assert [row["value"] for row in rows] == [1.0, 25 / 24, 23 / 24]
    assert "trials" not in chart_names(trials(count=1))


@pytest.mark.parametrize(
    "records",
    [
        trials(backends=["keras", "torch", "jax"]),
        trials(backends=["torch"], count=1),
        [*trials(), *feeding(), *failures(), *trials(track="native", proofs={})],
        trials(settings={"target_top1": 0.9}, matrix={"lr": 0.1}),
        feeding(),
    ],
    ids=["three backends", "one trial", "mixed", "target", "feeding"],
)
def test_every_drawing_compiles(records):
    """Altair finds no mistake in it, and Vega-Lite makes a chart of it."""
    charts = [chart for charts in charts_of(frame(records)).values() for chart in charts]

    assert charts
    assert len({chart.name for chart in charts}) == len(charts)
    for chart in charts:
        chart.drawing.to_dict(validate=True)
        spec = chart.as_dict()
        assert vl_convert.vegalite_to_vega(spec | {"config": theme.config()})["marks"]
        assert spec["datasets"] == {name: list(rows) for name, rows in chart.data.items()}


def test_the_main_chart_stands_alone():
    """It says what, where and on what, makes no use of names of colours, and has every line."""
    records = [*trials(), *trials("simple_cnn")]
    run = RUN | {"dataset": {"name": "drawn", "is_real": False}}

    svg = vl_convert.vegalite_to_svg(poster(Report.of(run, records)))

    for text in ("Cats and dogs", "profile cpu", "data: drawn pictures", "fine_tune", "simple_cnn"):
        assert text in svg
    assert len(re.findall(">[^<]*same work: proven", svg)) == 3
    assert "var(" not in svg


def test_backends_are_told_apart_by_more_than_colour():
    """Thirty of them before a colour and a shape come together again."""
    series = theme.series_of([f"backend {number}" for number in range(30)])

    assert len({(one.colour, one.shape) for one in series}) == 30
    assert len({one.shape for one in series[:5]}) == 5


@pytest.mark.parametrize("theme_index", [0, 1], ids=["light", "dark"])
def test_colours_can_be_read(theme_index):
    """Text 4.5:1 and marks 3:1 against the paper, as WCAG 2 asks."""
    colours = {name: pair[theme_index] for name, pair in theme.COLOURS.items()}

    for name in ("ink", "muted", "link", "good", "bad", "warn"):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    assert contrast(colours["warn"], colours["warn-paper"]) >= 4.5
    for name in (*theme.SERIES_COLOURS, "even"):
        assert contrast(colours[name], colours["paper"]) >= 3, name


def test_colours_have_names_in_css_and_plain_values_in_files():
    """Whatever is nested how deep."""
    spec = {"a": [{"color": theme.css("ink"), "text": "var"}], "n": 1}

    assert theme.in_light(spec) == {
        "a": [{"color": theme.COLOURS["ink"][0], "text": "var"}],
        "n": 1,
    }
    assert "--ink: light-dark(" in theme.properties()

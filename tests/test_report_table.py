"""The table says what was measured, fits the terminal, and hides nothing."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence

import pytest
from results_records import record
from rich.console import Console

from benchharness.report.markdown import markdown
from benchharness.report.rows import rounded
from benchharness.report.summary import answers_in
from benchharness.report.table import plain_text, results_table

RUN = {
    "suite": "cats_dogs",
    "title": "Cats and dogs",
    "profile": "cpu",
    "device": "CPU, 2 threads",
    "dataset": {"name": "cats_dogs", "origin": "folder pets", "is_real": True},
    "weights": None,
    "backends": ["keras", "torch"],
}
METRICS = {
    "train_images_per_s": 11.92,
    "epoch_s": 167.8,
    "wall_s": 361.4,
    "test_top1": 0.9187,
    "train_loss": 0.2,
    "params": 23_105_345,
    "trainable_params": 15_470_081,
}


def pair(benchmark: str = "fine_tune", **changes: object) -> list[dict]:
    """Return a trial of each backend."""
    return [
        record(benchmark, backend, **{"metrics": METRICS} | changes)
        for backend in ("keras", "torch")
    ]


def line_of(text: str, name: str) -> str:
    """Return the first line of a text's table that begins with a name."""
    return next(line for line in text.splitlines() if line.startswith(name) and "│" in line)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width):
    """Every figure appears whole at any width, measures continuing in tables below."""
    published = {"top1": 0.9123, "epoch_s": 51.0}
    text = plain_text(
        RUN, pair(matrix={"batch_size": 10, "lr": 0.001}, published=published), width=width
    )

    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for figure in ("11.9", "168", "361", "0.9187", "23.1", "15.5", "0.9123", "51.0"):
        assert figure in text


def test_backends_stand_side_by_side_in_the_order_of_the_suite():
    """One line per benchmark holds both, whichever was recorded first."""
    slow, fast = pair(metrics=METRICS | {"train_images_per_s": 10.0})
    fast["metrics"] = METRICS | {"train_images_per_s": 20.0}

    text = plain_text(RUN, [fast, slow], width=80)

    assert re.search(r"keras +torch", text)
    assert re.match(r"fine_tune +│ +10\.0 +20\.0 │", line_of(text, "fine_tune"))


def test_too_many_backends_for_the_width_get_a_line_each():
    """Where a measure does not fit with all backends, their names move into the lines."""
    records = [record(backend=f"backend-{number}", metrics=METRICS) for number in range(8)]

    text = plain_text({}, records, width=80)

    assert all(f"simple_cnn, backend-{number}" in " ".join(text.split()) for number in range(8))


def test_side_by_side_figures_share_their_decimals():
    """The smaller one decides, so that neither pretends to more."""
    assert rounded([9.876, 123.456]) == ["9.88", "123.46"]
    assert rounded([17012.3, 21544.9]) == ["17,012", "21,545"]
    assert rounded([None, 0.0001]) == ["-", "0.000"]
    assert rounded([0.0, None]) == ["0", "-"]


def changed(records: list[dict], place: int = 1, **changes: object) -> list[dict]:
    """Return records of which one has other values, the second if nothing else is said."""
    return [one | changes if index == place else one for index, one in enumerate(records)]


def repeated(rates: Sequence[float], name: str = "simple_cnn") -> list[dict]:
    """Return a trial for each rate."""
    return [
        record(name, trial=trial, metrics={"train_images_per_s": rate})
        for trial, rate in enumerate(rates, start=1)
    ]


STEPS = {"step_ms_p50": 82.1, "step_ms_p90": 90.3}
HALF_MISSED = [
    record(
        "fine_tune",
        backend,
        trial=trial,
        settings={"target_top1": 0.95},
        metrics={"time_to_top1_s": time},
    )
    for backend, both in {"keras": (4.0, None), "torch": (None, None)}.items()
    for trial, time in enumerate(both, start=1)
]


@pytest.mark.parametrize(
    ("records", "patterns", "never"),
    [
        pytest.param(
            repeated((10.0, 30.0, 11.0)),
            [r"simple_cnn \(n=3\) +│ +11\.0"],
            "16.5",
            id="medians are shown with the number of trials",
        ),
        pytest.param(
            [*repeated((10.0, 12.0, 8.0), "noisy"), *repeated((10.0, 10.8, 9.3), "quiet")],
            [r"unstable  noisy \(keras\): from 8\.00 to 12\.00 images/s over 3 trials, a standard"],
            "quiet (keras)",
            id="trials that scatter beyond chance are unstable, not those that may be steady",
        ),
        pytest.param(
            changed(pair(), status="oom", reason="killed by signal 9", metrics={}),
            [r"11\.9 +no memory", r"no memory  fine_tune \(torch\): killed by signal 9"],
            "oom",
            id="a failed cell has its status in words and its reason below",
        ),
        pytest.param(
            changed(repeated((1.0, 1.0, 1.0)), status="diverged", reason="loss became NaN"),
            [r"simple_cnn \(n=2\)", r"simple_cnn \(keras\), 1 of 3 trials: loss became NaN"],
            "n=3",
            id="some failed trials do not hide the others",
        ),
        pytest.param(
            pair(metrics=METRICS | {"test_top1": 0.0562}, classes=10, test_count=10_000),
            [r"0\.0562!", r"! below_chance  fine_tune \(keras, torch\): accuracy is lower"],
            "v: ",
            id="an implausible accuracy is marked and explained",
        ),
        pytest.param(
            pair(metrics={"train_images_per_s": 1.0, "validation_top1": 0.8938}),
            [r"0\.8938v", "v: of validation images"],
            "!",
            id="validation accuracy stands in for a missing test and says so",
        ),
        pytest.param(
            changed(pair(), metrics=METRICS | {"params": 23_105_346}),
            [r"fine_tune +│.* differ",
             "keras 23,105,345, torch 23,105,346 params; the backends do not do the same work"],
            "23.1 ",
            id="backends of unequal size are never shown as equal",
        ),
        pytest.param(
            pair(published={"top1": 0.9, "epoch_s": None, "note": "more than 90 %"}),
            [r"fine_tune +│.* 0\.9000", "published  fine_tune: more than 90 %"],
            "None",
            id="published figures and notes stand beside ours",
        ),
        pytest.param(
            changed(pair(proof="proven"), proof="partial: logits (3e-3 over 1e-5)"),
            [r"fine_tune +│ +partial │", r"same work  fine_tune: partial: logits \(3e-3 over 1e-5"],
            "proven",
            id="the worst verdict of a row is a word in the table and a reason below",
        ),
        pytest.param(
            changed(pair(ledger={"verdict": "as planned"}), ledger={"verdict": "order differs"}),
            [r"batches  fine_tune \(torch\): order differs"],
            "fine_tune (keras)",
            id="a batch out of plan is told",
        ),
        pytest.param(
            changed(
                pair(metrics=METRICS | {"throttled": ""}),
                metrics=METRICS | {"throttled": "thermal"},
            ),
            [r"throttled  fine_tune \(torch\): the device slowed down \(thermal\)"],
            "fine_tune (keras)",
            id="a device that slowed down is told with a remedy",
        ),
        pytest.param(
            HALF_MISSED,
            [r"4\.00 \(1/2\) +missed", "of the trials that reached it",
             r"fine_tune \(keras\): 1 of 2 trials never reached 0\.95 validation top-1",
             r"fine_tune \(torch\): 2 of 2 trials"],
            "0 of 2",
            id="times to a target show how many trials got there",
        ),
        pytest.param(
            pair(metrics={"peak_host_bytes": 1_500_000_000, "fraction_of_peak": 0.42} | STEPS),
            [r"82\.1/90\.3 +82\.1/90\.3", r"42\.0 +42\.0", r"1\.50 +1\.50"],
            "device GB",
            id="resources are shown where they are known",
        ),
    ],
)  # fmt: skip
def test_the_table_shows(records: list[dict], patterns: list[str], never: str):
    """In its row or in a note below, and nothing else."""
    text = plain_text(RUN, records, width=200)

    assert all(re.search(pattern, text) for pattern in patterns), text
    assert never not in text


def test_the_legend_explains_the_columns_that_are_shown_and_no_other():
    """A short phrase each."""
    text = plain_text(RUN, pair(metrics={"train_images_per_s": 1.0, "epoch_s": 2.0}))

    legend = text.rpartition("\n\n")[2].splitlines()
    assert [line.split("  ")[0] for line in legend] == ["images/s", "epoch s", "numbers"]
    assert all(len(line) < 80 for line in legend)


def test_feeding_is_the_rate_of_a_benchmark_that_only_feeds():
    """`dataset` shows images brought to the device, and measures nobody has are left out."""
    records = pair("dataset", strategy="dataset", metrics={"feed_images_per_s": 17012.3}, epochs=0)

    text = plain_text(RUN, records)

    assert "17,012" in line_of(text, "dataset")
    assert "top-1" not in text
    assert "params" not in text


def test_drawn_pictures_and_random_weights_are_in_the_title():
    """A table of made-up data cannot be taken for one of real data."""
    drawn = RUN | {"dataset": {"name": "drawn", "is_real": False}, "weights": {"is_random": True}}

    text = plain_text(drawn, pair())

    assert "data: drawn pictures, weights: random" in text.splitlines()[:3]
    assert "data: cats_dogs (folder pets)" in plain_text(RUN, pair()).splitlines()[:3]


def test_tracks_are_told_apart_only_where_there_are_several():
    """One track needs no word; two have a line each."""
    native = [one | {"track": "native"} for one in pair()]

    assert "fine_tune (native)" not in plain_text(RUN, native)
    assert "fine_tune (native)" in plain_text(RUN, [*pair(), *native])


def test_names_from_data_print_as_they_are():
    """Markup, colours and line breaks in names and reasons do nothing."""
    records = pair("[red]x[/red]", status="failed", reason="\x1b[31mline 1\x1b[0m\nline\x07 2")
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard")

    console.print(results_table(RUN | {"title": "[bold]T[/bold]"}, records))

    text = plain_text(RUN | {"title": "[bold]T[/bold]"}, records)
    assert text.startswith("[bold]T[/bold]\n")
    assert "[red]x[/red]" in text
    assert "line 1 line 2" in text
    assert "\x1b" not in text
    assert "[red]x[/red]" in console.file.getvalue()


def test_no_winner_is_named():
    """Both numbers look the same in colour: the table does not judge."""
    records = pair()
    records[1]["metrics"] = METRICS | {"train_images_per_s": 99.0}
    console = Console(file=io.StringIO(), width=160, force_terminal=True, color_system="standard")

    console.print(results_table(RUN, records))

    assert "\x1b" not in line_of(console.file.getvalue(), "fine_tune")


def test_an_answer_has_a_line_for_each_of_its_claims():
    """The first names the benchmark; everything below it is indented, and nothing is left out."""
    records = pair()
    lines = plain_text(RUN, records, width=60).splitlines()
    (first,) = (n for n, line in enumerate(lines) if line.startswith("fine_tune: "))
    below = list(itertools.takewhile(lambda line: line.startswith("  "), lines[first + 1 :]))
    said = " ".join([lines[first], *map(str.strip, below)])

    assert said in answers_in(RUN, records)
    claims = said.split("; test top-1")
    assert len(claims) == 2
    assert "  test top-1" in {line[:12] for line in below}


def test_a_run_without_trials_says_so():
    """The title stands, and one sentence."""
    assert plain_text(RUN, []).splitlines()[-1] == "no trial has finished"
    assert markdown(RUN, []).startswith("### Cats and dogs\n")


def test_markdown_holds_all_measures_in_one_table():
    """Every row has the cells of its header, whatever bars the names contain."""
    text = markdown(RUN, pair("a|b"))

    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert rows[0].startswith("| benchmark | images/s keras | images/s torch | epoch s keras |")
    assert rows[2].startswith("| a\\|b | 11.9 | 11.9 | 168 | 168 | 361 | 361 | 0.9187 |")


def test_a_setting_that_differs_everywhere_is_said_once():
    """What decides the work comes before what decides speed, with the lines that have it."""
    records = []
    for benchmark in ("a", "b"):
        keras, torch = pair(benchmark)
        keras["effective"] = {"threads": 2, "precision": "float32", "layout": "channels_last"}
        torch["effective"] = keras["effective"] | {"threads": 1}
        records += [keras, torch]
    records[1]["effective"]["precision"] = "bfloat16"

    text = plain_text(RUN, records, width=160)

    work = "work differs     precision: keras float32, torch bfloat16 (a)"
    speed = "settings differ  threads: keras 2, torch 1 (all benchmarks)"
    assert 0 < text.index(work) < text.index(speed)
    assert "layout" not in text


def test_a_busy_machine_is_told_once():
    """Where others use more than a quarter of the cores: how many, and in how many trials."""
    records = pair(metrics=METRICS | {"foreign_cores": 0.4})
    run = RUN | {"environment": {"cores": 2}}
    quiet = plain_text(run, records, width=160)
    records[1]["metrics"] = METRICS | {"foreign_cores": 1.2}

    text = " ".join(plain_text(run, records, width=160).split())

    assert (
        "the machine was busy other processes used 1.2 of this machine's 2 cores while 1 trial was "
        "timed, so no winner is named from them; close other programs and run again"
    ) in text
    assert "busy" not in quiet


def test_what_goes_through_a_head_alone_is_called_features():
    """Stored features are no images; each line has its figure in one of the two columns."""
    settings = {"batch_size": 50, "reuse_frozen": True, "trainable": "block5"}
    records = [
        *pair("simple_cnn", metrics={"train_images_per_s": 111.0}),
        *pair("bottleneck", strategy="bottleneck", metrics={"train_images_per_s": 222.0}),
        *pair("fine_tune", settings=settings, metrics={"train_images_per_s": 333.0}),
    ]

    rows = [line for line in markdown(RUN, records).splitlines() if line.startswith("| ")]

    assert rows[0].startswith(
        "| benchmark | images/s keras | images/s torch | features/s keras | features/s torch |"
    )
    assert rows[1].startswith("| simple\\_cnn | 111 | 111 | - | - |")
    assert rows[2].startswith("| bottleneck | - | - | 222 | 222 |")
    assert rows[3].startswith("| fine\\_tune | - | - | 333 | 333 |")


def test_a_failure_is_told_where_the_speed_would_stand():
    """Of a bottleneck too."""
    failed = {"metrics": {}, "status": "failed", "reason": "it broke", "strategy": "bottleneck"}
    records = [*pair("bottleneck", strategy="bottleneck")[:1], *pair("bottleneck", **failed)[1:]]

    rows = [line for line in markdown(RUN, records).splitlines() if line.startswith("| ")]

    assert rows[0].startswith("| benchmark | features/s keras | features/s torch |")
    assert rows[1].startswith("| bottleneck | 11.9 | failed |")


def test_checks_stand_beside_the_total_and_not_in_it():
    """Of 361.4 s, 11.4 s were ours."""
    checked = pair(metrics=METRICS | {"calibrate_s": 10.0, "ledger_s": 1.4})

    rows = [line for line in markdown(RUN, checked).splitlines() if line.startswith("| ")]
    headings, texts = ([cell.strip() for cell in row.split("|")] for row in rows)
    shown = dict(zip(headings, texts, strict=True))

    assert (shown["total s keras"], shown["checks s keras"]) == ("350", "11.4")


def test_too_few_images_are_told_without_a_flag():
    """Eleven right of twenty fit a guess and a network that has learnt."""
    metrics = METRICS | {"train_loss": 0.69, "train_top1": 0.55, "test_top1": 0.55}
    few = plain_text(RUN, pair(metrics=metrics, train_count=40, test_count=20), width=160)
    many = plain_text(RUN, pair(metrics=metrics, train_count=4000, test_count=800), width=160)

    assert "too few images fine_tune (keras, torch): the accuracies fit" in " ".join(few.split())
    assert "0.5500!" not in few
    assert "too few images" not in many


@pytest.mark.parametrize(("speed", "is_explained"), [(10.0, False), (60.0, True)])
def test_more_than_the_peak_is_explained_where_it_is_seen(speed: float, is_explained: bool):
    """Winograd's convolutions do less than is counted."""
    known = {"train_images_per_s": speed, "train_flops_per_image": 4e9, "peak_flops_per_s": 2e11}

    text = plain_text(RUN, pair(metrics=known), width=160)

    assert ("Winograd" in text) == is_explained


def test_whose_matrix_product_the_peak_is_stands_in_the_legend():
    """It is the denominator of every backend; precisions have peaks of their own."""
    speed = {"train_images_per_s": 10.0, "train_flops_per_image": 4e9}
    product = {"peak_flops_per_s": 2e11, "peak_source": "backend"}
    faster = product | {"peak_flops_per_s": 4e11}
    records = pair(metrics=METRICS | speed | product, settings={"precision": "float32"})
    records[1]["metrics"] = METRICS | speed | faster
    halved = {"precision": "bfloat16"}
    mixed = pair("simple_cnn", metrics=METRICS | speed | faster, settings=halved)
    mixed[1]["metrics"] = METRICS | speed | product

    alone, several = (
        " ".join(plain_text(RUN, trials, width=200).split())
        for trials in (records, records + mixed)
    )

    assert re.search(r"fine_tune .*10\.0 +10\.0", alone)
    assert "% of peak of the run's fastest matrix product, measured in torch" in alone
    assert "measured in keras (bfloat16), torch (float32)" in several

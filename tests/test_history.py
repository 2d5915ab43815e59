"""Runs over time: what is joined, what is excluded, and what is said of a step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from history_runs import MACHINE, PLANTED, speeds, write_run, write_runs, write_storage

from benchharness.cli.history_command import command
from benchharness.errors import RunError, SuiteError
from benchharness.history.history import history_of
from benchharness.history.runs import Choice, read_runs

pytest_plugins = "pytester"


def show(*words: str) -> Result:
    """Return what the command says on a wide terminal; it must succeed."""
    result = CliRunner().invoke(command, list(words), env={"COLUMNS": "200"}, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def series_of(*words: str) -> list[dict]:
    """Return the series that the command prints as JSON."""
    return json.loads(show(*words, "--json").stdout)["series"]


def own(**changes) -> dict:
    """Return what our plugin files with a cell."""
    known = {
        "suite": "pets",
        "benchmark": "cnn",
        "backend": "torch",
        "machine": MACHINE,
        "device": "cpu",
        "dataset": {"name": "cats_dogs", "digest": "d1"},
        "weights": None,
        "settings": {"batch_size": 50},
        "options": {"plugin": "torch"},
        "versions": {"torch": "2.15.0"},
        "benchharness": "0.1.0",
        "test_top1": 0.9,
    }
    return known | changes


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of 14 runs with noise of one per cent."""
    results = tmp_path_factory.mktemp("steady")
    write_runs(results, speeds())
    return results


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of 14 runs that are a fifth longer from the ninth on."""
    results = tmp_path_factory.mktemp("slower")
    write_runs(results, speeds(slower=1.2))
    return results


class TestRecords:
    """From the folders of runs."""

    def test_step_is_told_with_date_size_and_what_changed(self, slower: Path):
        """Since the tenth of November, with another PyTorch and commit; unrounded in JSON."""
        text = show("pets", "--results", str(slower)).stdout
        (series,) = series_of("--results", str(slower))

        (line,) = [line for line in text.splitlines() if "slower since" in line]
        assert line.startswith("20.4% slower since 2026-11-10 06:30 (100.2 -> 83.2 images/s): ")
        assert "commit 070707070 -> 080808080" in line
        assert "torch 2.14.1 -> 2.15.0" in line
        (step,) = series["steps"]
        assert step["before"] == series["points"][PLANTED - 1]["run"]
        assert step["after"] == series["points"][PLANTED]["run"]
        assert step["was"] / step["became"] == pytest.approx(1.2, rel=0.02)
        assert step["is_worse"]

    def test_table_has_commit_value_spread_and_changes(self, slower: Path):
        """A row per run; the second had uncommitted changes."""
        text = show("--results", str(slower), "--last", "14").stdout

        rows = [line.split("│") for line in text.splitlines() if line.startswith("2026-")]
        cells = [[cell.strip() for cell in row] for row in rows]
        assert len(cells) == 14
        assert cells[0] == ["2026-11-02 06:30", "000000000", "100.4", "2.0%", ""]
        assert cells[1][1] == "010101010+"
        assert cells[PLANTED][4] == "torch 2.14.1 -> 2.15.0"

    def test_steady_runs_have_no_step_and_long_tables_show_the_newest(self, steady: Path):
        """Noise of one per cent is none; the table says how many it leaves out."""
        text = show("--results", str(steady), "--last", "3").stdout

        assert "since 2026-11-02 06:30, 14 runs" in text
        assert "slower" not in text
        assert "faster" not in text
        assert sum(line.startswith("2026-") for line in text.splitlines()) == 3
        assert "11 earlier runs not shown" in text

    def test_a_machine_with_two_speeds_is_named_and_has_no_step(self, tmp_path: Path):
        """Five runs at 100 images a second, five at 85, and so on, with other commits each."""
        rates = [(85 if place // 5 % 2 else 100) + place % 3 for place in range(25)]
        write_runs(tmp_path, rates)

        text = show("pets", "--results", str(tmp_path)).stdout

        assert " since " not in text
        assert (
            "4 changes between two levels, 86.0 and 101.0 images/s: a machine with two speeds "
            "rather than steps of the code"
        ) in text
        (series,) = series_of("pets", "--results", str(tmp_path))
        assert series["steps"] == []
        assert series["two_speeds"]["changes"] == 4

    def test_faster_is_no_regression(self, tmp_path: Path):
        """The way of a step depends on the column."""
        write_runs(tmp_path, speeds(slower=1 / 1.5))

        (series,) = series_of("--results", str(tmp_path))

        assert [step["is_worse"] for step in series["steps"]] == [False]
        assert re.search(r"\b(49|50)\.\d% faster since", show("--results", str(tmp_path)).stdout)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"facts": {"machine": "a big one"}}, "different machine (a big one)"),
            ({"facts": {"device": "cuda:0"}}, "different device (cuda:0)"),
            (
                {"facts": {"dataset": {"slices": [{"image_size": 64, "digest": "d2"}]}}},
                "different data",
            ),
            ({"train_count": 400}, "different data"),
            (
                {"settings": {"batch_size": 25, "image_size": 64}},
                "different settings (batch_size)",
            ),
            (
                {"facts": {"resolved": {"backend": {"torch": {"options": {"batch_size": 9}}}}}},
                "different settings (batch_size)",
            ),
        ],
    )
    def test_runs_on_other_terms_are_set_aside_and_counted(
        self, tmp_path: Path, changes: dict, reason: str
    ):
        """They are slower by half, and make no step."""
        for place in range(12):
            is_other = place in (3, 4, 5)
            write_run(tmp_path, place, 50.0 if is_other else 100.0, **changes if is_other else {})

        text = show("--results", str(tmp_path)).stdout

        assert f"3 runs excluded: {reason}" in text
        assert "slower" not in text
        (series,) = series_of("--results", str(tmp_path))
        assert [point["value"] for point in series["points"]] == [100.0] * 9

    @pytest.mark.parametrize(
        ("settings", "is_excluded"), [({}, False), ({"backbone": "vgg16"}, True)]
    )
    def test_weights_matter_where_a_network_has_any(
        self, tmp_path: Path, settings: dict, is_excluded: bool
    ):
        """What a plain CNN does not read is no reason."""
        for place in range(2):
            facts = {"weights": {"digest": f"w{place}"}}
            chosen = {"batch_size": 50, "image_size": 64} | settings
            write_run(tmp_path, place, 100.0, settings=chosen, facts=facts)

        text = show("--results", str(tmp_path)).stdout

        assert ("1 run excluded: different weights" in text) is is_excluded

    def test_setting_of_a_later_version_sets_nothing_aside(self, tmp_path: Path):
        """What an earlier version did not know, it did by default."""
        for place in range(6):
            new = {"layout": "channels_last"} if place > 2 else {}
            settings = {"batch_size": 50, "image_size": 64} | new
            write_run(tmp_path, place, 100.0, settings=settings)

        (series,) = series_of("--results", str(tmp_path))

        assert len(series["points"]) == 6

    def test_all_machines_have_series_of_their_own(self, tmp_path: Path):
        """Never one."""
        for place in range(8):
            machine = {"facts": {"machine": "a big one"}} if place % 2 else {}
            write_run(tmp_path, place, 200.0 if place % 2 else 100.0, **machine)

        found = series_of("--results", str(tmp_path), "--all-machines")

        assert {one["machine"]: {p["value"] for p in one["points"]} for one in found} == {
            MACHINE: {100.0},
            "a big one": {200.0},
        }

    def test_runs_of_before_machines_were_recorded_are_told_apart_too(self, tmp_path: Path):
        """By what run.json says of the environment."""
        environment = {"cpu": "a processor", "cores": 2, "machine": "x86_64", "system": "Linux 6"}
        for place, cores in enumerate((2, 8, 2)):
            old = {"machine": None, "environment": environment | {"cores": cores}}
            write_run(tmp_path, place, 100.0, facts=old)
        write_run(tmp_path, 4, 100.0)

        text = show("--results", str(tmp_path)).stdout

        assert "1 run excluded: different machine (a processor, 8 cores, Linux x86_64)" in text

    @pytest.mark.parametrize(
        ("column", "was", "became", "words"),
        [
            (
                "peak_host_bytes",
                1_500_000_000,
                2_250_000_000,
                "50.0% more since 2026-11-08 06:30 (1.50 -> 2.25 GB)",
            ),
            ("test_top1", 0.9, 0.8, "0.1000 lower since 2026-11-08 06:30 (0.9000 -> 0.8000)"),
        ],
    )
    def test_other_columns_have_their_units_and_directions(
        self, tmp_path: Path, column: str, was: float, became: float, words: str
    ):
        """Bytes in GB, of which more is worse; accuracies by difference: a tenth, not a ninth."""
        for place in range(12):
            write_run(tmp_path, place, 1.0, metrics={column: was if place < 6 else became})

        text = show("--results", str(tmp_path), "--column", column).stdout

        assert words in text
        assert f"{column} (GB)" in text or column == "test_top1"

    def test_failed_trials_make_no_point(self, tmp_path: Path):
        """A run without a result leaves a gap."""
        for place in range(4):
            failed = {"status": "failed", "reason": "it broke"} if place == 2 else {}
            write_run(tmp_path, place, 100.0, **failed)

        (series,) = series_of("--results", str(tmp_path))

        assert len(series["points"]) == 3

    def test_benchmarks_and_backends_can_be_chosen(self, tmp_path: Path):
        """None but these."""
        run = write_run(tmp_path, 0, 100.0)
        first = run.records()[0][0]
        for benchmark, backend in [("cnn", "keras"), ("feed", "torch")]:
            run.append(first | {"id": backend, "benchmark": benchmark, "backend": backend})

        def cells(*words: str) -> list[str]:
            return [one["cell"] for one in series_of("--results", str(tmp_path), *words)]

        assert cells() == ["cnn torch", "cnn keras", "feed torch"]
        assert cells("--benchmark", "cnn") == ["cnn torch", "cnn keras"]
        assert cells("--benchmark", "cnn", "--backend", "keras") == ["cnn keras"]

    def test_last_run_that_stands_out_is_named(self, tmp_path: Path):
        """One run is no step, but somebody should look."""
        write_runs(tmp_path, [*speeds(runs=10), 50.0])

        text = show("--results", str(tmp_path)).stdout

        assert re.search(r"the last run is (99|100)\.\d% slower than the level since", text)
        assert "3 such runs make a step" in text

    def test_suite_is_found_by_its_file(self, tmp_path: Path, steady: Path):
        """The name in the file counts, not that of the file."""
        file = tmp_path / "animals.toml"
        file.write_text('name = "pets"\n', encoding="utf-8")

        assert series_of(str(file), "--results", str(steady))

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ("{", "expected JSON"),
            ("{}", "started: expected a time, found nothing; it was left out"),
            ('{"started": "noon"}', "started: expected a time, found noon; it was left out"),
        ],
    )
    def test_damaged_run_is_named_and_the_rest_read(self, tmp_path: Path, content: str, told: str):
        """One bad file does not hide a year."""
        write_run(tmp_path, 0, 100.0)
        broken = write_run(tmp_path, 20, 100.0)
        (broken.path / "run.json").write_text(content, encoding="utf-8")

        result = show("--results", str(tmp_path), "--json")

        assert f"{broken.path}/run.json: {told}" in result.stderr
        assert len(json.loads(result.stdout)["series"][0]["points"]) == 1

    @pytest.mark.parametrize(
        ("words", "kind", "told"),
        [
            (["pest"], RunError, r"pest: expected recorded runs .* did you mean pets\?"),
            (["--column", "train_image_per_s"], SuiteError, r"did you mean train_images_per_s\?"),
            (["--column", "energy_j"], RunError, "try another --column, --benchmark or --backend"),
            (["--results", "nowhere"], RunError, "`benchharness run SUITE` makes one, and --sto"),
            # No traceback for a folder that is a file.
            ([__file__, "--results", __file__], RunError, "expected recorded runs"),
        ],
    )
    def test_what_is_not_recorded_is_said_with_a_remedy(self, steady: Path, words, kind, told):
        """The nearest name, or how to record."""
        with pytest.raises(kind, match=told):
            show("--results", str(steady), *words)


class TestStorage:
    """From the files of pytest-benchmark."""

    def test_ordinary_files_are_read(self, tmp_path: Path):
        """Hosts of other names are one machine where the processor is the same."""
        for place, speed in enumerate(speeds(slower=1.15)):
            write_storage(tmp_path, place, 1e-3 / speed)

        text = show("--storage", str(tmp_path)).stdout

        assert "test_steps.py::test_step[8]: median (us)" in text
        assert re.search(
            r"1\d\.\d% slower since 2026-11-10 06:30 \(9\.9\d -> 11\.\d\d us\): com", text
        )
        assert "excluded" not in text

    def test_other_machines_are_set_aside(self, tmp_path: Path):
        """By processor and cores."""
        for place in range(6):
            write_storage(tmp_path, place, 0.01, cores=8 if place == 1 else 2)

        text = show("--storage", str(tmp_path)).stdout

        assert "1 run excluded: different machine (a processor, 8 cores, Linux x86_64)" in text

    def test_samples_of_the_side_compared_with_are_left_out(self, tmp_path: Path):
        """They are those of another revision, in the same file."""
        for place in range(6):
            write_storage(tmp_path, place, 0.01, own={"side": "A" if place == 5 else "B"})

        text = show("--storage", str(tmp_path)).stdout

        assert "5 runs" in text

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"dataset": {"digest": "d2"}}, "different data"),
            ({"weights": {"digest": "w2"}}, "different weights"),
            ({"settings": {"batch_size": 8}}, "different settings (batch_size)"),
            ({"options": {"plugin": "lamp"}}, "different settings (plugin)"),
            ({"machine": "a big one"}, "different machine (a big one)"),
        ],
    )
    def test_cells_of_our_plugin_are_bound_to_more(self, tmp_path: Path, changes, reason):
        """Data, weights, settings, and the machine as we describe it."""
        for place in range(4):
            write_storage(tmp_path, place, 0.01, own=own(**(changes if place == 1 else {})))

        assert f"1 run excluded: {reason}" in show("--storage", str(tmp_path)).stdout

    def test_metrics_of_our_plugin_are_columns(self, tmp_path: Path):
        """Beside the times."""
        for place in range(4):
            write_storage(tmp_path, place, 0.01, own=own())

        (series,) = series_of("--storage", str(tmp_path), "--column", "test_top1")

        assert [point["value"] for point in series["points"]] == [0.9] * 4

    def test_suite_benchmark_and_backend_choose_cells(self, tmp_path: Path):
        """As they do among records."""
        write_storage(tmp_path, 0, 0.01, own=own())

        assert series_of("pets", "--storage", str(tmp_path), "--backend", "torch")
        for words in (["zoo"], ["pets", "--backend", "keras"], ["--benchmark", "feed"]):
            with pytest.raises(RunError, match="no recorded run has this column"):
                series_of(*words, "--storage", str(tmp_path))

    def test_operations_per_second_are_a_rate(self, tmp_path: Path):
        """Fewer is worse."""
        for place in range(12):
            write_storage(tmp_path, place, 0.01 if place < 6 else 0.02)

        (series,) = series_of("--storage", str(tmp_path), "--column", "ops")

        assert [step["is_worse"] for step in series["steps"]] == [True]

    @pytest.mark.parametrize("text", ["{", "[]", '{"benchmarks": [{}]}', '{"benchmarks": 7}'])
    def test_damaged_file_is_named_and_the_rest_read(self, tmp_path: Path, text: str):
        """One bad file does not hide a year."""
        write_storage(tmp_path, 0, 0.01)
        bad = tmp_path / "bad.json"
        bad.write_text(text, encoding="utf-8")

        result = show("--storage", str(tmp_path), "--json")

        assert f"{bad}: expected a file of pytest-benchmark" in result.stderr
        assert len(json.loads(result.stdout)["series"]) == 1

    def test_empty_folder_says_how_to_fill_it(self, tmp_path: Path):
        """Nothing was saved yet."""
        with pytest.raises(RunError, match="pytest --benchmark-autosave makes one"):
            show("--storage", str(tmp_path))

    def test_files_of_the_installed_pytest_benchmark_are_read(self, tmp_path: Path, pytester):
        """The real thing, as it stores it today."""
        pytester.makepyfile("def test_sum(benchmark): benchmark(sum, range(10))")
        words = ("--benchmark-enable", "--benchmark-autosave", "--benchmark-max-time=0.01")
        for _ in range(2):
            pytester.runpytest_subprocess(*words).assert_outcomes(passed=1)

        (series,) = series_of("--storage", str(pytester.path / ".benchmarks"))

        assert series["cell"].endswith("::test_sum")
        assert len(series["points"]) == 2
        assert all(0 < point["value"] < 1 for point in series["points"])


def test_recorded_run_carries_commit_and_machine(tmp_path: Path):
    """What `benchharness run` writes is what `benchharness history` reads."""
    from benchharness.measure.git import describe_commit
    from benchharness.measure.machine import fingerprint, machine_label
    from benchharness.run.events import unobserved
    from benchharness.run.options import RunOptions
    from benchharness.run.session import open_session, start_run

    suite = tmp_path / "tiny.toml"
    suite.write_text(
        'name = "tiny"\ntrials = 1\nbackends = ["numpy"]\n[dataset]\nsource = "drawn"\n'
        "[defaults]\nimage_size = 16\ntrain_images = 8\ntest_images = 4\nbatch_size = 4\n"
        '[[benchmark]]\nname = "feed"\nstrategy = "dataset"\n',
        encoding="utf-8",
    )
    request = RunOptions(suite=suite, results=tmp_path / "results", proof="no")
    session = open_session(request, cache=tmp_path / "cache")
    with start_run(session, unobserved) as runner:
        runner.run(unobserved)

    folder = runner.folder
    run = folder.read_run()
    history = history_of(read_runs([folder.path.parent], Choice()).readings, source="tiny")

    assert run["machine"] == machine_label(fingerprint())
    here = describe_commit(Path.cwd())
    assert run["commit"].get("id") == here.get("id")
    (series,) = history.series
    assert series.cell == "feed numpy"
    assert series.quantity.name == "feed_images_per_s"
    assert series.terms.machine == run["machine"]

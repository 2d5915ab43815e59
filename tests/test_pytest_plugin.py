"""Suites in a pytest session: what is collected, run, reported and left alone."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from pytest_sessions import CNN, FEED, HEAD, install, run, saved

from benchharness.errors import RunError
from benchharness.pytest_plugin import samples
from benchharness.pytest_plugin.options import request_of
from benchharness.results.run_folder import find_run
from benchharness.suite.load import load
from benchharness.suite.resolve import resolve

pytestmark = pytest.mark.slow

pytest_plugins = "pytester"

MATRIX = """
[[benchmark]]
name = "many"
strategy = "simple_cnn"
filters = [2]
tracks = ["equal", "native"]
matrix = { batch_size = [4, 8], precision = ["float32"] }
"""
RIVALS = HEAD.replace('["paced"]', '["paced", "other"]') + (
    '[backend.other]\nplugin = "paced"\n[backend.other.options]\nfault = "{fault}"\n'
)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a suite, whose sessions run in this process."""
    monkeypatch.setenv("BENCHHARNESS_CACHE", str(pytester.path / "cache"))
    install(pytester.path)
    return pytester


def test_a_cell_is_an_item_named_after_its_matrix_backend_and_track(project: pytest.Pytester):
    """Names tell all that tells cells apart; the equal track goes without saying."""
    (project.path / "pace.toml").write_text(HEAD + FEED + MATRIX)

    found = project.runpytest("pace.toml", "--collect-only", "-q").outlines

    assert [line for line in found if "::" in line] == [
        "pace.toml::feed-paced",
        "pace.toml::many[batch_size=4,precision=float32]-paced",
        "pace.toml::many[batch_size=4,precision=float32]-paced-native",
        "pace.toml::many[batch_size=8,precision=float32]-paced",
        "pace.toml::many[batch_size=8,precision=float32]-paced-native",
    ]


@pytest.mark.parametrize(
    ("arguments", "ini", "collected"),
    [
        ([], "", 0),
        (["--benchmark-only"], "", 2),
        (["."], "", 2),
        ([], "testpaths = .", 2),
        (["pace.toml::feed-paced"], "", 1),
        ([], "benchharness_profile = no\naddopts = -p no:benchharness", 0),
    ],
)
def test_suites_are_collected_where_they_are_asked_for(
    project: pytest.Pytester, arguments: list[str], ini: str, collected: int
):
    """A bare pytest in a folder that happens to hold suites trains nothing."""
    (project.path / "pytest.ini").write_text(f"[pytest]\n{ini}\n")

    found = project.runpytest(*arguments, "--collect-only", "-q").outlines

    assert len([line for line in found if "::" in line]) == collected


def test_toml_files_that_are_no_suites_are_left_alone(project: pytest.Pytester):
    """Others use TOML too, and a word in it is no table."""
    (project.path / "pace.toml").unlink()
    (project.path / "pyproject.toml").write_text('[project]\nname = "[[benchmark]] [dataset]"\n')
    (project.path / "half.toml").write_text(FEED)

    found = project.runpytest(".", "--collect-only", "-q")

    assert found.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_what_is_wrong_with_a_suite_is_told_in_a_line_each(project: pytest.Pytester):
    """All problems, in our words, from where pytest was called; no traceback."""
    (project.path / "pace.toml").write_text(HEAD.replace("seed = 3", "seed = -3\nsed = 1") + FEED)

    found = project.runpytest("pace.toml")

    found.stdout.fnmatch_lines(
        ["pace.toml: seed: expected * found -3", 'pace.toml: sed: *did you mean "seed"*']
    )
    found.stdout.no_fnmatch_line("*Traceback*")
    found.stdout.no_fnmatch_line("E  *")
    assert found.ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("arguments", "ini", "told"),
    [
        (["--benchharness-profile=fast"], "", '--benchharness-profile: expected a name*"fast"*'),
        ([], "benchharness_trials = few", "ini file: benchharness_trials: * found 'few'"),
        ([], "benchharness_proof = maybe", "ini file: benchharness_proof: * found 'maybe'"),
    ],
)
def test_an_option_that_is_not_understood_is_told_in_a_line(
    project: pytest.Pytester, arguments: list[str], ini: str, told: str
):
    """By the name that it has here."""
    (project.path / "pytest.ini").write_text(f"[pytest]\n{ini}\n")

    found = project.runpytest("pace.toml", *arguments)

    found.stdout.fnmatch_lines([f"*{told}"])
    found.stdout.no_fnmatch_line("E  *")


def test_samples_and_facts_of_a_cell_reach_the_file_of_pytest_benchmark(tmp_path: Path):
    """One round for each block of steps; the digests, the settings and the machine beside it."""
    install(tmp_path)

    done = run(
        tmp_path,
        *("pace.toml", "--benchmark-only", "--benchmark-json=all.json"),
        *("--benchharness-trials=2", "--benchmark-columns=median,rounds", "-k", "cnn"),
    )

    assert done.code == 0, done.text
    document = json.loads((tmp_path / "all.json").read_text())
    (bench,) = document["benchmarks"]
    records, _ = find_run(Path("pace"), tmp_path / "results").records()
    blocks = [seconds / steps for one in records for _, steps, seconds in one["blocks"]]
    info = bench["extra_info"]
    assert bench["fullname"] == "pace.toml::small_cnn-paced"
    assert bench["group"] == "pace: small_cnn"
    assert bench["params"] == {"benchmark": "small_cnn", "backend": "paced", "track": "equal"}
    assert bench["stats"]["data"] == pytest.approx(blocks)
    assert info["trials"] == [one["id"] for one in records]
    assert len(records) == 2
    assert info["precision"] == "float32"
    assert info["settings"]["dense"] == 8
    assert info["versions"] == {"numpy": version("numpy"), "python": platform.python_version()}
    assert info["dataset"]["name"] == "drawn"
    assert len(info["dataset"]["digest"]) == 64
    assert info["weights"] is None
    assert info["peak_host_bytes"] > 1e7
    assert 0 <= info["test_top1"] <= 1
    assert document["machine_info"]["benchharness"]["cores"] > 0
    assert done.lines("recorded in results/pace/")


def test_a_suite_without_a_number_of_trials_gets_the_first_of_each_cell(tmp_path: Path):
    """Items are asked for one by one, so no look decides how many more there are."""
    text = RIVALS.format(fault="none").replace("trials = 1\n", "")
    install(tmp_path, text + CNN)

    done = run(tmp_path, "pace.toml", "--benchmark-only", PACE_MS="1")

    folder = find_run(Path("pace"), tmp_path / "results")
    records, _ = folder.records()
    assert done.code == 0, done.text
    assert [one["trial"] for one in records] == [1, 1, 2, 2, 3, 3]
    assert {one["max_trials"] for one in records} == {None}
    assert "looks" not in folder.read_run()


def test_backends_take_turns_whatever_the_order_of_the_items(tmp_path: Path):
    """A B, B A: the plan's order, though pytest asks for the last item first."""
    install(tmp_path, RIVALS.format(fault="none") + CNN)
    (tmp_path / "conftest.py").write_text(
        "def pytest_collection_modifyitems(items):\n    items.reverse()\n"
    )

    done = run(
        tmp_path,
        "pace.toml",
        "--benchmark-only",
        "--benchharness-trials=2",
        "-v",
        "-rw",
        PACE_MS="1",
    )

    records, _ = find_run(Path("pace"), tmp_path / "results").records()
    assert done.code == 0, done.text
    assert [line.split()[0] for line in done.lines("PASSED")] == [
        "pace.toml::small_cnn-other",
        "pace.toml::small_cnn-paced",
    ]
    assert [(one["backend"], one["trial"]) for one in records] == [
        ("paced", 1),
        ("other", 1),
        ("other", 2),
        ("paced", 2),
    ]
    assert {one["proof"] for one in records} == {"proven"}
    assert not done.lines("UnprovenWarning")


@pytest.mark.parametrize("is_required", [False, True])
def test_unproven_work_is_warned_of_or_failed_where_proof_is_required(
    tmp_path: Path, is_required: bool
):
    """Twice the learning rate on one side; nothing is timed that a required proof refuses."""
    install(tmp_path, RIVALS.format(fault="errs") + CNN)
    option = ["--benchharness-require-proof"] if is_required else []

    done = run(tmp_path, "pace.toml", "--benchmark-only", *option, PACE_MS="1")

    records, _ = find_run(Path("pace"), tmp_path / "results").records()
    assert done.is_plain
    assert bool(records) != is_required
    if is_required:
        assert done.code == 1
        assert done.lines("small_cnn-paced: proof: expected proven, found partial: ")
    else:
        assert done.code == 0
        assert done.lines("UnprovenWarning: pace.toml::small_cnn-paced: the same work is not")


def test_a_trial_that_fails_fails_its_item_with_reason_and_last_words(tmp_path: Path):
    """In lines, not in a traceback of ours; what a backend cannot do is skipped."""
    suite = RIVALS.format(fault="breaks").replace('"other"]', '"other", "third"]')
    third = '[backend.third]\nplugin = "paced"\noptions = { fault = "lacks" }\n'
    install(tmp_path, suite + third + CNN)

    done = run(
        tmp_path, "pace.toml", "--benchmark-only", "--benchharness-no-proof", "-rs", PACE_MS="1"
    )

    assert done.code == 1
    assert "1 failed, 1 passed, 1 skipped" in done.text
    assert done.lines("small_cnn-other: trial 1 of 1: failed: ValueError: out of ideas")
    assert done.lines("last lines of results/pace/")
    assert done.lines("    the last thing it said") or done.lines("    ValueError: out of ideas")
    assert done.lines(": small_cnn-third: layout: not here")
    assert done.is_plain


def test_disabled_benchmarks_are_tried_once_and_leave_nothing(tmp_path: Path):
    """One small trial of each cell, no record, no time."""
    install(tmp_path, (HEAD + CNN).replace("train_images = 20", "train_images = 400"))

    done = run(
        tmp_path, "pace.toml", "--benchmark-disable", "--benchmark-json=all.json", PACE_MS="1"
    )

    assert done.code == 0, done.text
    assert "1 passed" in done.text
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "all.json").exists()
    assert not done.lines("benchmark 'pace")


def test_skipped_benchmarks_run_nothing(project: pytest.Pytester):
    """As pytest-benchmark has it."""
    found = project.runpytest("pace.toml", "--benchmark-skip")

    found.assert_outcomes(skipped=2)


def test_data_that_cannot_be_had_fail_each_cell_with_a_line(project: pytest.Pytester):
    """Looked for once."""
    text = (HEAD + FEED + CNN).replace('"drawn"', '"folder"\npath = "nowhere"')
    (project.path / "pace.toml").write_text(text)

    found = project.runpytest("pace.toml", "--benchmark-only")

    found.assert_outcomes(failed=2)
    assert len([line for line in found.outlines if line.startswith("nowhere: expected")]) == 2
    found.stdout.no_fnmatch_line("*Traceback*")


def test_only_selected_cells_run_and_those_they_take_their_heads_from(tmp_path: Path):
    """Heads of the backends that were selected, in the track that was."""
    from benchharness.pytest_plugin.suites import select_cells

    transfer = 'weights = "random"\nbackbone = "vgg_mini"\n'
    before = '[[benchmark]]\nname = "before"\nstrategy = "bottleneck"\n'
    after = '[[benchmark]]\nname = "after"\nstrategy = "fine_tune"\nhead_from = "before"\n'
    head = HEAD.replace('["paced"]', '["paced", "numpy"]')
    install(tmp_path, head + FEED + before + transfer + after + transfer)
    plan = resolve(load(tmp_path / "pace.toml"), profile=None)
    chosen = [one for one in plan.cells if (one.benchmark, one.backend) == ("after", "numpy")]

    kept = select_cells(plan, chosen).cells

    assert [(cell.benchmark, cell.backend) for cell in kept] == [
        ("before", "numpy"),
        ("after", "numpy"),
    ]


def test_a_session_without_suites_loads_nothing_of_ours(pytester: pytest.Pytester):
    """Everybody who has us installed loads the plugin in every session."""
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            ours = {name for name in sys.modules if name.startswith("benchharness")}
            assert ours == {
                "benchharness", "benchharness.errors", "benchharness.pytest_plugin",
                "benchharness.pytest_plugin.options",
            }
            assert not {"pydantic", "pandas", "rich", "pluggy.benchharness"} & set(sys.modules)

        def test_it(benchmark):
            benchmark(len, "")
        """
    )

    done = pytester.runpytest_subprocess("--benchmark-json=all.json", "-p", "no:hypothesispytest")

    done.assert_outcomes(passed=2)
    assert "benchharness" not in json.loads(Path("all.json").read_text())["machine_info"]


def test_importing_the_plugin_imports_no_library():
    """Neither NumPy nor anything else of weight."""
    code = (
        "import pytest, sys; before = set(sys.modules); import benchharness.pytest_plugin; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) <= {"benchharness", *sys.stdlib_module_names}


def test_without_pytest_benchmark_a_session_is_as_before(project: pytest.Pytester):
    """Only whoever asks for what needs it is told."""
    project.makepyfile("def test_it(): pass\n\ndef test_step(benchharness): pass\n")

    plain = project.runpytest("-p", "no:benchmark", "-k", "test_it")
    step = project.runpytest("-p", "no:benchmark", "-k", "test_step")
    suite = project.runpytest("-p", "no:benchmark", "pace.toml")

    assert plain.ret == 0
    step.stdout.fnmatch_lines(["fixture benchharness: expected pytest-benchmark, found none; *"])
    suite.stdout.fnmatch_lines(["pytest-benchmark: expected it to be loaded, *"])


@pytest.mark.parametrize(("found", "is_known"), [("5.1.0", False), ("5.2.0", True), ("6.0", False)])
def test_another_pytest_benchmark_is_refused(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, found: str, is_known: bool
):
    """What is private may be otherwise there."""
    monkeypatch.setattr(samples, "version", lambda name: found)

    if is_known:
        samples.require_pytest_benchmark(request.config)
    else:
        with pytest.raises(RunError, match=f"expected pytest-benchmark 5.2 .*, found {found}"):
            samples.require_pytest_benchmark(request.config)


def test_tools_of_pytest_benchmark_read_what_was_saved(tmp_path: Path):
    """Its own comparison, grouped and sorted, and its histogram."""
    install(tmp_path, HEAD + FEED)
    run(tmp_path, "pace.toml", "--benchmark-only", "--benchmark-save=one", PACE_MS="1")

    done = run(
        tmp_path,
        *("compare", "--group-by=param:backend", "--sort=mean", "--histogram=plot"),
        program="pytest_benchmark",
    )

    file, document = saved(tmp_path)
    assert file.name == "0001_one.json"
    assert document["benchmarks"][0]["extra_info"]["kind"] == "cell"
    assert done.code == 0, done.text
    assert done.lines("feed-paced")
    assert list(tmp_path.glob("plot*.svg"))


@pytest.mark.parametrize("key", ["data", "results"])
@pytest.mark.parametrize("written", ["~/a place", "elsewhere", "/far/away"])
def test_a_folder_of_an_ini_file_may_lie_at_home(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, key: str, written: str
):
    """``~`` is the home folder, and a relative one is beside the file."""
    monkeypatch.setenv("HOME", "/homes/me")
    ini = pytester.makeini(f'[pytest]\nbenchharness_{key} = "{written}"')
    (pytester.path / "deeper").mkdir()
    config = pytester.parseconfig("-c", str(ini), "--rootdir", "deeper")

    found = getattr(request_of(config, Path("pace.toml")), key)

    expected = {"~/a place": Path("/homes/me/a place"), "elsewhere": ini.parent / "elsewhere"}
    assert found == expected.get(written, Path(written))


@pytest.mark.parametrize("key", ["data", "results"])
def test_a_folder_on_the_command_line_may_lie_at_home(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, key: str
):
    """A shell leaves ``~`` alone that follows an equals sign."""
    monkeypatch.setenv("HOME", "/homes/me")
    config = pytester.parseconfig(f"--benchharness-{key}=~/pets")

    assert getattr(request_of(config, Path("pace.toml")), key) == Path("/homes/me/pets")


def test_a_folder_with_blanks_is_to_be_in_quotes(pytester: pytest.Pytester):
    """Not taken for its first word."""
    pytester.makeini("[pytest]\nbenchharness_data = my pictures")

    with pytest.raises(RunError, match=r"benchharness_data: expected one folder.*'my pictures'"):
        request_of(pytester.parseconfig(), Path("pace.toml"))

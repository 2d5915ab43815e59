"""Plans resolved from suites: layers, profiles, choices, running order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from suite_files import BOTTLENECK, CNN, DATASET, FINE_TUNE, HEAD, PETS, suite_of

from benchharness.errors import SuiteError
from benchharness.measure import sequential
from benchharness.suite.file import FEWEST_TRIALS, LAST_LOOK, SuiteFile
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import choose_profile, resolve
from benchharness.suite.settings import FineTuneSettings, SimpleCnnSettings


def batch_sizes(plan: Plan) -> list[int]:
    """Return the batch size of each cell."""
    return [cell.settings.batch_size for cell in plan.cells]


def refusal(suite: SuiteFile, **request: object) -> list[str]:
    """Return the problems of a request, without the file."""
    with pytest.raises(SuiteError) as caught:
        resolve(suite, **{"profile": None} | request)  # type: ignore[arg-type]
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("layers", range(1, 7))
def test_each_layer_beats_the_ones_below(tmp_path: Path, layers: int) -> None:
    """Built-in < defaults < benchmark < profile defaults < profile's benchmark < matrix."""
    tables = [
        "[defaults]\nbatch_size = 2\n",
        CNN.replace("[defaults]", "") + "batch_size = 3\n",
        "[profiles.p.defaults]\nbatch_size = 4\n",
        "[profiles.p.benchmark.cnn]\nbatch_size = 5\n",
        "[profiles.p.benchmark.cnn]\nmatrix = { batch_size = [6] }\n",
    ]
    chosen = tables[: layers - 1]
    if layers < 3:
        chosen.append(CNN)
    if layers == 6:
        chosen.remove(tables[3])
    suite = suite_of(tmp_path, PETS + "".join(chosen) + "[profiles.q]\n")

    plan = resolve(suite, profile="p" if layers > 3 else "q", backends=("torch",))

    assert batch_sizes(plan) == [{1: 50}.get(layers, layers)]


def test_matrix_wins_over_the_defaults_of_a_profile(tmp_path: Path) -> None:
    """A profile's defaults do not flatten a sweep."""
    text = CNN + "matrix = { batch_size = [1, 2] }\n[profiles.p.defaults]\nbatch_size = 9\n"

    plan = resolve(suite_of(tmp_path, PETS + text), profile="p", backends=("torch",))

    assert batch_sizes(plan) == [1, 2]


def test_defaults_reach_only_strategies_that_know_them(tmp_path: Path) -> None:
    """A default that a strategy does not know is no mistake of its benchmarks."""
    text = '[defaults]\nfilters = [4]\n[[benchmark]]\nname = "feed"\nstrategy = "dataset"\n' + CNN

    plan = resolve(suite_of(tmp_path, PETS + text), profile=None, backends=("torch",))

    feed, cnn = (cell.settings for cell in plan.cells)
    assert not hasattr(feed, "filters")
    assert isinstance(cnn, SimpleCnnSettings)
    assert cnn.filters == (4,)


def test_optimizer_without_a_name_changes_the_strategys_own(tmp_path: Path) -> None:
    """Only the learning rate of fine-tuning changes; a named rule starts from its own defaults."""
    text = BOTTLENECK + FINE_TUNE + "matrix = { optimizer = [{ lr = 0.5 }, { name = 'sgd' }] }\n"

    plan = resolve(
        suite_of(tmp_path, PETS + text),
        profile=None,
        backends=("torch",),
        benchmarks=("fine_tune",),
    )

    changed, named = (cell.settings for cell in plan.cells[1:])
    assert isinstance(changed, FineTuneSettings)
    assert isinstance(named, FineTuneSettings)
    assert (changed.optimizer.name, changed.optimizer.lr, changed.optimizer.momentum) == (
        "sgd",
        0.5,
        0.9,
    )
    assert (named.optimizer.lr, named.optimizer.momentum) == (1e-3, 0.0)


def test_matrix_gives_every_combination(tmp_path: Path) -> None:
    """Cells are the product of the axes, the last key varying fastest, times backends."""
    text = CNN + "matrix = { pool = ['end', 'each'], batch_size = [1, 2] }\n"

    plan = resolve(suite_of(tmp_path, PETS + text), profile=None, backends=("torch",))

    assert [dict(cell.matrix) for cell in plan.cells] == [
        {"pool": "end", "batch_size": 1},
        {"pool": "end", "batch_size": 2},
        {"pool": "each", "batch_size": 1},
        {"pool": "each", "batch_size": 2},
    ]


def test_profile_replaces_matrix_and_published_figures(tmp_path: Path) -> None:
    """A profile may take away a sweep and the figures that no longer compare."""
    text = CNN + "matrix = { batch_size = [1, 2] }\npublished = { top1 = 0.5 }\n"
    suite = suite_of(
        tmp_path, PETS + text + "[profiles.p.benchmark.cnn]\nmatrix = {}\npublished = {}\n"
    )

    with_profile = resolve(suite, profile="p", backends=("torch",))
    without = resolve(suite, profile=None, backends=("torch",))

    assert [cell.published for cell in with_profile.cells] == [None]
    assert [cell.published and cell.published.top1 for cell in without.cells] == [0.5, 0.5]


def test_profile_dataset_changes_single_keys(tmp_path: Path) -> None:
    """Another source leaves the path behind, which said where the first one lies."""
    text = PETS + "path = 'x'\non_bad_image = 'skip'\n" + CNN
    profiles = "[profiles.a.dataset]\nfallback = 'drawn'\n[profiles.b.dataset]\nsource = 'drawn'\n"
    suite = suite_of(tmp_path, text + profiles)

    a, b = (resolve(suite, profile=name) for name in "ab")

    assert (a.dataset.source, a.dataset.path, a.dataset.fallback) == ("cats_dogs", "x", "drawn")
    assert (b.dataset.source, b.dataset.path, b.dataset.on_bad_image) == ("drawn", None, "skip")
    assert (a.dataset_path, b.dataset_path) == (tmp_path / "x", None)


def test_backends_take_turns_and_every_other_turn_is_reversed(tmp_path: Path) -> None:
    """A B, B A, A B at each point of the matrix, with seeds that grow by one."""
    text = CNN + "trials = 3\nmatrix = { batch_size = [1, 2] }\n"

    trials = resolve(suite_of(tmp_path, PETS + text), profile=None).trials()

    point = [
        ("keras", 1, 7),
        ("torch", 1, 7),
        ("torch", 2, 8),
        ("keras", 2, 8),
        ("keras", 3, 9),
        ("torch", 3, 9),
    ]
    assert [(trial.cell.backend, trial.index, trial.seed) for trial in trials] == point * 2
    assert [trial.cell.settings.batch_size for trial in trials] == [1] * 6 + [2] * 6


@pytest.mark.parametrize(
    ("profile", "asked", "expected"),
    [
        (None, None, [(3, 10), (4, None)]),
        ("one", None, [(2, None), (2, None)]),
        ("named", None, [(2, None), (3, None)]),
        ("named", 5, [(5, None), (5, None)]),
        ("named", "auto", [(3, 10), (3, 10)]),
        ("looks", None, [(3, 6), (3, 5)]),
    ],
)
def test_number_of_trials_comes_from_the_nearest_table(
    tmp_path: Path,
    profile: str | None,
    asked: int | Literal["auto"] | None,
    expected: list[tuple[int, int | None]],
) -> None:
    """Option > profile's benchmark > profile > benchmark > suite, which has auto by default."""
    named = "[profiles.named]\ntrials = 2\n[profiles.named.benchmark.bottleneck]\ntrials = 3\n"
    named += "[profiles.looks]\ntrials = 'auto'\nmax_trials = 6\n"
    named += "[profiles.looks.benchmark.bottleneck]\nmax_trials = 5\n"
    text = CNN + BOTTLENECK + "trials = 4\n[profiles.one]\ntrials = 2\n" + named

    plan = resolve(
        suite_of(tmp_path, PETS + text), profile=profile, backends=("torch", "keras"), trials=asked
    )

    assert [(cell.trials, cell.max_trials) for cell in plan.cells[::2]] == expected


def test_what_has_nothing_to_decide_gets_the_first_trials(tmp_path: Path) -> None:
    """One backend has no rival, and nobody asked for a benchmark that only gives its head."""
    alone = CNN + 'backends = ["torch"]\n'
    suite = suite_of(tmp_path, PETS + alone + BOTTLENECK + FINE_TUNE)

    plan = resolve(suite, profile=None, benchmarks=("cnn", "fine_tune"))

    trials = {cell.benchmark: (cell.trials, cell.max_trials) for cell in plan.cells}
    assert trials == {"cnn": (3, None), "bottleneck": (3, None), "fine_tune": (3, 10)}
    assert (len(plan.trials()), plan.most) == (15, 29)


def test_minutes_come_from_the_option_the_profile_or_the_suite(tmp_path: Path) -> None:
    """The nearest wins, as for every other number."""
    head = HEAD + "max_minutes = 9\n" + DATASET
    suite = suite_of(tmp_path, head + CNN + "[profiles.p]\nmax_minutes = 0.5\n")

    asked = [resolve(suite, profile="p", max_minutes=2), resolve(suite, profile="p")]

    assert [plan.max_minutes for plan in [*asked, resolve(suite, profile=None)]] == [2, 0.5, 9]


def test_the_first_trials_are_as_many_as_a_look_needs() -> None:
    """Suites and looks, which do not know each other, have the same numbers."""
    assert (FEWEST_TRIALS, LAST_LOOK) == (sequential.FEWEST, sequential.MAX_TRIALS)


@pytest.mark.parametrize(
    ("profile", "asked", "cnn", "bottleneck"),
    [
        (None, (), "keras torch", "torch jax"),
        (None, ("numpy", "jax"), "numpy jax", "jax"),
        ("torch", (), "torch", "torch"),
        ("torch", ("jax",), "jax", "jax"),
        ("own", (), "keras torch", "jax"),
        (None, ("keras",), "keras", ""),
    ],
)
def test_own_backends_of_a_benchmark_limit_those_asked_for(
    tmp_path: Path, profile: str | None, asked: tuple[str, ...], cnn: str, bottleneck: str
) -> None:
    """An option replaces the suite's list, yet runs no benchmark where its table forbids it."""
    profiles = "[profiles.torch]\nbackends = ['torch']\n"
    profiles += "[profiles.own.benchmark.bottleneck]\nbackends = ['jax']\n"
    text = PETS + CNN + BOTTLENECK + "backends = ['torch', 'jax']\n" + profiles

    plan = resolve(suite_of(tmp_path, text), profile=profile, backends=asked)

    cells = [(cell.benchmark, cell.backend) for cell in plan.cells]
    assert [backend for name, backend in cells if name == "cnn"] == cnn.split()
    assert [backend for name, backend in cells if name == "bottleneck"] == bottleneck.split()
    assert plan.left_out == (() if bottleneck else ("bottleneck",))


def test_head_is_trained_before_it_is_needed(tmp_path: Path) -> None:
    """The bottleneck benchmark moves before the one that takes its head; the rest stays."""
    plan = resolve(suite_of(tmp_path, PETS + FINE_TUNE + CNN + BOTTLENECK), profile=None)

    order = dict.fromkeys(cell.benchmark for cell in plan.cells)
    assert list(order) == ["bottleneck", "fine_tune", "cnn"]
    assert plan.added == ()


def test_benchmark_that_gives_a_head_is_added_and_told(tmp_path: Path) -> None:
    """Asking for fine-tuning alone also runs the benchmark its head comes from."""
    suite = suite_of(tmp_path, PETS + CNN + BOTTLENECK + FINE_TUNE)

    plan = resolve(suite, profile=None, benchmarks=("fine_tune",))

    assert list(dict.fromkeys(cell.benchmark for cell in plan.cells)) == ["bottleneck", "fine_tune"]
    assert plan.added == ("bottleneck",)


def test_benchmarks_asked_for_replace_the_profiles_choice(tmp_path: Path) -> None:
    """A profile chooses benchmarks in file order, unless the user does."""
    suite = suite_of(
        tmp_path, PETS + CNN + BOTTLENECK + "[profiles.p]\nbenchmarks = ['bottleneck']\n"
    )

    by_profile = resolve(suite, profile="p", backends=("torch",))
    by_user = resolve(suite, profile="p", backends=("torch",), benchmarks=("cnn",))

    assert [cell.benchmark for cell in by_profile.cells] == ["bottleneck"]
    assert [cell.benchmark for cell in by_user.cells] == ["cnn"]


def test_request_that_cannot_be_met_is_refused(tmp_path: Path) -> None:
    """Unknown names and empty runs are problems with the nearest spelling or the remedy."""
    suite = suite_of(tmp_path, PETS + CNN + "backends = ['torch']\n[profiles.cpu]\n")
    bare = suite_of(tmp_path, 'name = "bare"\n' + DATASET + CNN)

    assert refusal(suite, profile="cpuu") == [
        '--profile: expected a name that the suite has, found "cpuu" (did you mean "cpu"?)'
    ]
    assert refusal(suite, benchmarks=("cnnn", "other")) == [
        '--benchmark: expected a name that the suite has, found "cnnn" (did you mean "cnn"?)',
        '--benchmark: expected a name that the suite has, found "other" (known: cnn)',
    ]
    assert refusal(suite, trials=0) == [
        '--trials: expected a number from 1 to 1000, or "auto", found 0'
    ]
    assert refusal(suite, max_trials=2) == [
        "--max-trials: expected a number from 3 to 1000, found 2"
    ]
    assert refusal(suite, max_minutes=-1.5) == ["--max-minutes: expected more than 0, found -1.5"]
    assert refusal(suite, trials=5, max_minutes=1.0) == [
        "--max-minutes: expected a benchmark whose number of trials is auto, found none "
        "(add --trials auto)"
    ]
    assert refusal(suite, backends=("keras",)) == [
        '--backend: expected a backend that a chosen benchmark may run on, found "keras"'
    ]
    assert refusal(bare) == [
        'backends: expected a list, for example ["keras", "torch"], found none '
        "(or name one with --backend)"
    ]


def test_option_that_leaves_a_head_behind_is_refused(tmp_path: Path) -> None:
    """A backend on which the head is not trained cannot start from it."""
    text = 'name = "pets"\nbackends = ["torch"]\n' + DATASET
    text += BOTTLENECK + 'backends = ["torch"]\n' + FINE_TUNE

    problems = refusal(suite_of(tmp_path, text), backends=("keras", "torch"))

    assert problems == [
        'benchmark "fine_tune": backends: expected backends that benchmark "bottleneck" runs on '
        'too, for head_from takes the head from there, found "keras"'
    ]


@pytest.mark.parametrize(
    ("profiles", "has_accelerator", "expected"),
    [
        ("[profiles.cpu]\n[profiles.gpu]\n", True, "gpu"),
        ("[profiles.cpu]\n[profiles.gpu]\n", False, "cpu"),
        ("[profiles.quick]\ndevice = 'cpu'\n[profiles.cpu]\n", False, "cpu"),
        ("[profiles.big]\ndevice = 'gpu'\n", True, "big"),
        ("[profiles.big]\ndevice = 'gpu'\n", False, None),
        ("[profiles.gpu]\ndevice = 'cpu'\n", True, None),
        ("[profiles.gpu]\ndevice = 'cpu'\n", False, "gpu"),
        ("", True, None),
    ],
)
def test_profile_follows_the_machine(
    tmp_path: Path, profiles: str, has_accelerator: bool, expected: str | None
) -> None:
    """The name of a profile, or its device key, chooses it for a kind of machine."""
    suite = suite_of(tmp_path, PETS + CNN + profiles)

    assert choose_profile(suite, requested=None, has_accelerator=has_accelerator) == expected


def test_requested_profile_must_exist(tmp_path: Path) -> None:
    """A profile asked for wins over the machine; a misspelt one is refused."""
    suite = suite_of(tmp_path, PETS + CNN + "[profiles.gpu]\n[profiles.smoke]\n")

    assert choose_profile(suite, requested="smoke", has_accelerator=True) == "smoke"
    with pytest.raises(SuiteError, match="did you mean"):
        choose_profile(suite, requested="smokee", has_accelerator=True)


def test_plan_is_recorded_as_json_without_places_of_the_machine(tmp_path: Path) -> None:
    """run.json holds every resolved setting, and paths only as the suite wrote them."""
    text = PETS + "path = 'photos'\n[backend.torch]\noptions = { speed = 2 }\n" + CNN
    plan = resolve(suite_of(tmp_path, text), profile=None)

    recorded = json.loads(json.dumps(plan.as_dict(), allow_nan=False))

    assert recorded["name"] == "pets"
    assert recorded["dataset"]["path"] == "photos"
    assert recorded["backend"]["torch"]["options"] == {"speed": 2}
    assert recorded["cells"][0]["settings"]["filters"] == [64, 128]
    assert str(tmp_path) not in json.dumps(recorded)


@pytest.mark.parametrize("has_accelerator", [False, True])
@pytest.mark.parametrize(("has_weights", "expected"), [(True, "any"), (False, "offline")])
def test_profile_offline_is_for_a_machine_without_pretrained_weights(
    tmp_path: Path, has_accelerator: bool, has_weights: bool, expected: str
) -> None:
    """Random weights would make nonsense of transfer learning; the suite may know better."""
    suite = suite_of(tmp_path, PETS + CNN + "[profiles.offline]\n[profiles.cpu]\n[profiles.gpu]\n")

    chosen = choose_profile(
        suite,
        requested=None,
        has_accelerator=has_accelerator,
        has_weights=lambda: has_weights,
    )

    assert chosen == expected.replace("any", "gpu" if has_accelerator else "cpu")


@pytest.mark.parametrize(("profiles", "requested"), [("offline", "offline"), ("cpu", None)])
def test_weights_are_looked_for_only_where_a_profile_depends_on_it(
    tmp_path: Path, profiles: str, requested: str | None
) -> None:
    """Looking may take a download."""

    def look() -> bool:
        raise AssertionError("nobody needed to know")

    suite = suite_of(tmp_path, PETS + CNN + f"[profiles.{profiles}]\n")

    chosen = choose_profile(suite, requested=requested, has_accelerator=False, has_weights=look)

    assert chosen == profiles


def test_a_backends_own_compiling_wins_and_stays_its_own(tmp_path: Path) -> None:
    """A compiled variant stands beside the plain one, whatever the benchmark says of compiling."""
    text = CNN + "compile = true\n[backend.torch]\ncompile = false\n"
    text += '[backend.compiled]\nplugin = "torch"\ncompile = true\n'

    plan = resolve(
        suite_of(tmp_path, PETS + text), profile=None, backends=("keras", "torch", "compiled")
    )

    found = {cell.backend: cell.settings.compile for cell in plan.cells}
    assert found == {"keras": True, "torch": False, "compiled": True}

"""Tracks, and what training reads in each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from suite_files import BOTTLENECK, CNN, FINE_TUNE, HEAD, PETS, problems_of, suite_of

from benchharness.errors import SuiteError
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import resolve

BOTH = 'tracks = ["equal", "native"]\n'
FILES = 'input = "files"\n'
FEATURES = (
    'input: expected "prepared", for training reads stored features here, found "files" '
    '(write input = "prepared" here)'
)
CLOTHES = HEAD + '[dataset]\nsource = "fashion_mnist"\n'


def inputs(plan: Plan) -> set[tuple[str, str, str | None]]:
    """Return benchmark, track and input of each cell."""
    return {(cell.benchmark, cell.track, cell.settings.input) for cell in plan.cells}


def test_suite_without_tracks_runs_in_the_equal_one(tmp_path: Path) -> None:
    """Nobody gets a native row unasked."""
    plan = resolve(suite_of(tmp_path, PETS + CNN), profile=None)

    assert inputs(plan) == {("cnn", "equal", "prepared")}


@pytest.mark.parametrize(
    ("suite", "own", "profile", "override", "expected"),
    [
        ("", "", "", "", ["equal"]),
        (BOTH, "", "", "", ["equal", "native"]),
        (BOTH, 'tracks = ["native"]\n', "", "", ["native"]),
        ("", 'tracks = ["native"]\n', BOTH, "", ["equal", "native"]),
        ("", "", BOTH, 'tracks = ["native"]\n', ["native"]),
    ],
)
def test_nearer_choice_of_tracks_wins(
    tmp_path: Path, suite: str, own: str, profile: str, override: str, expected: list[str]
) -> None:
    """Suite < benchmark < profile < the profile's benchmark, as with trials."""
    text = suite + PETS + CNN + own
    text += f"[profiles.p]\n{profile}[profiles.p.benchmark.cnn]\n{override}"

    plan = resolve(suite_of(tmp_path, text), profile="p", backends=("torch",))

    assert [cell.track for cell in plan.cells] == expected


def test_tracks_asked_for_win_over_the_suites(tmp_path: Path) -> None:
    """What the user names replaces every choice of the file."""
    suite = suite_of(tmp_path, BOTH + PETS + CNN + 'tracks = ["equal"]\n')

    plan = resolve(suite, profile=None, tracks=("native", "native"))

    assert {cell.track for cell in plan.cells} == {"native"}


def test_unknown_track_asked_for_is_refused(tmp_path: Path) -> None:
    """The refusal names the option and the tracks there are."""
    with pytest.raises(SuiteError) as caught:
        resolve(suite_of(tmp_path, PETS + CNN), profile=None, tracks=("fast",))

    assert [str(problem) for problem in caught.value.problems] == [
        '--track: expected "equal" or "native", found "fast"'
    ]


def test_backends_take_turns_within_each_track(tmp_path: Path) -> None:
    """A trial of one track never stands between two that are held against each other."""
    text = BOTH + PETS + CNN + "trials = 2\n"

    trials = resolve(suite_of(tmp_path, text), profile=None).trials()

    assert [(trial.cell.track, trial.cell.backend, trial.seed) for trial in trials] == [
        (track, backend, seed)
        for track in ("equal", "native")
        for backend, seed in (("keras", 7), ("torch", 7), ("torch", 8), ("keras", 8))
    ]


def test_native_training_on_images_reads_files(tmp_path: Path) -> None:
    """In the equal track all read prepared images; stored features are read in both."""
    feed = '[[benchmark]]\nname = "feed"\nstrategy = "dataset"\n'
    reuse = (
        FINE_TUNE.replace('"fine_tune"\nstrategy', '"reuse"\nstrategy') + "reuse_frozen = true\n"
    )
    text = BOTH + PETS + feed + CNN + BOTTLENECK + FINE_TUNE + reuse

    plan = resolve(suite_of(tmp_path, text), profile=None)

    natively = {name: input_ for name, track, input_ in inputs(plan) if track == "native"}
    assert natively == {
        "feed": "files",
        "cnn": "files",
        "bottleneck": "prepared",
        "fine_tune": "files",
        "reuse": "prepared",
    }
    assert {input_ for _, track, input_ in inputs(plan) if track == "equal"} == {"prepared"}
    assert plan.fileless == ()


def test_stated_input_holds_in_every_track(tmp_path: Path) -> None:
    """A matrix over the input shows whether the loader or the arithmetic decides."""
    text = BOTH + PETS + CNN + 'matrix = { input = ["files", "prepared"] }\n'

    plan = resolve(suite_of(tmp_path, text), profile=None, backends=("torch",))

    assert [(dict(cell.matrix), cell.track, cell.settings.input) for cell in plan.cells] == [
        ({"input": "files"}, "equal", "files"),
        ({"input": "files"}, "native", "files"),
        ({"input": "prepared"}, "equal", "prepared"),
        ({"input": "prepared"}, "native", "prepared"),
    ]


def test_dataset_without_files_is_read_prepared_in_the_native_track(tmp_path: Path) -> None:
    """The plan says which benchmarks that concerns."""
    text = BOTH + CLOTHES + CNN + '[[benchmark]]\nname = "b"\nstrategy = "bottleneck"\n'

    plan = resolve(suite_of(tmp_path, text), profile=None)

    assert {input_ for _, _, input_ in inputs(plan)} == {"prepared"}
    assert plan.fileless == ("cnn",)
    assert json.loads(json.dumps(plan.as_dict()))["fileless"] == ["cnn"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            PETS + CNN + 'tracks = ["equal", "natve"]\n',
            'benchmark "cnn": tracks, item 2: expected "equal" or "native", found "natve" '
            '(did you mean "native"?)',
        ),
        (
            PETS + CNN + 'tracks = "native"\n',
            'benchmark "cnn": tracks: expected a list of one or more different names, each "equal" '
            'or "native", found "native"',
        ),
        # A benchmark in a track that its bottleneck does not run in would find no head.
        (
            PETS + BOTTLENECK + FINE_TUNE + BOTH,
            'benchmark "fine_tune": tracks: expected tracks that benchmark "bottleneck" runs in '
            'too, for head_from takes the head from there, found "native"',
        ),
        (
            CLOTHES + CNN + FILES,
            'benchmark "cnn": input: expected "prepared", for dataset fashion_mnist has no image '
            'files, found "files" (write input = "prepared" here)',
        ),
        # The suite by itself is right; its profile takes the dataset that has files.
        (
            PETS + CNN + FILES + '[profiles.p.dataset]\nsource = "fashion_mnist"\n',
            'profile "p": benchmark "cnn": input: expected "prepared", for dataset fashion_mnist '
            'has no image files, found "files" (write input = "prepared" here)',
        ),
        # Stored features are computed once, from prepared images.
        (PETS + BOTTLENECK + FILES, 'benchmark "bottleneck": ' + FEATURES),
        (
            PETS + FINE_TUNE.replace("head_from", "#") + "reuse_frozen = true\n" + FILES,
            'benchmark "fine_tune": ' + FEATURES,
        ),
    ],
)
def test_tracks_and_files_that_cannot_be_are_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    """Before anything runs, with the place and the way out."""
    assert problems_of(tmp_path, text) == [problem]

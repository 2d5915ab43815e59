"""A suite that is run on pictures of which it knows nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from odd_images import CLASSES, odd_folder
from photographs import save, save_classes

from benchharness.data.info import DatasetInfo
from benchharness.errors import DatasetError, SuiteError
from benchharness.report.table import inputs_text
from benchharness.run import messages
from benchharness.run.dry_run import build_workloads, dataset_info, preview_trials
from benchharness.run.inputs import RunInputs, SearchPaths, adapt_plan, channels, find_inputs
from benchharness.suite.builtin import IMAGES
from benchharness.suite.load import load
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import resolve

pytestmark = pytest.mark.slow

SUITES = Path(__file__).parent.parent / "suites"
SUITE = """
name = "pets"
trials = 1
title = "Cats and dogs"
backends = ["numpy"]
[dataset]
source = "cats_dogs"
[defaults]
image_size = 32
train_images = 40
test_images = 10
dense = 4
[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
filters = [2]
output = "sigmoid"
published = { top1 = 0.8 }
[[benchmark]]
name = "bottleneck"
strategy = "bottleneck"
weights = "random"
"""


def facts(*sizes: int, **changes: Any) -> DatasetInfo:
    """Return the facts of own pictures, with so many of each class to learn from and to test."""
    given = {
        "title": "mine", "origin": "here", "channels": 3, "is_own": True, "is_lenient": True,
        "classes": tuple("abcdefghijklmnopqrstuvwxyz"[: len(sizes)]), "train": sizes, "test": sizes,
    }  # fmt: skip
    return DatasetInfo(**given | changes)


def plan_of(folder: Path, suite: str = SUITE) -> Plan:
    """Return the plan of a suite."""
    path = folder / "pets.toml"
    path.write_text(suite)
    return resolve(load(path), profile=None)


def settings_of(plan: Plan) -> Mapping[str, Any]:
    """Return the settings by benchmark."""
    return {cell.benchmark: cell.settings for cell in plan.cells}


def inputs_of(plan: Plan, folder: Path, data: Path | None) -> RunInputs:
    """Return what a run on some data reads, decoded."""
    places = SearchPaths(environment={}, cache=folder / "cache", data=data)
    inputs = find_inputs(plan, places=places)
    inputs.decode_images()
    return inputs


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, without any data of this machine."""
    hidden = ("BENCHHARNESS_DATA", "BENCHHARNESS_WEIGHTS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [sys.executable, "-m", "benchharness", "run", *arguments],
        cwd=cwd,
        env=environment | {"BENCHHARNESS_CACHE": str(cwd / "cache"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=1200,
    )


def latest(results: Path) -> dict[str, Any]:
    """Return the run.json of the only run."""
    (path,) = {path.resolve() for path in results.glob("*/*/run.json")}
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("classes", "output"), [((9, 9), "sigmoid"), ((9, 9, 9), "softmax"), ((9,) * 10, "softmax")]
)
def test_an_output_of_auto_is_settled_by_the_classes(tmp_path, classes, output):
    """Before any worker sees it."""
    plan = adapt_plan(plan_of(tmp_path), facts(*classes, is_own=False, is_lenient=False))

    assert settings_of(plan)["bottleneck"].output == output


def test_a_sigmoid_gives_way_to_own_pictures_of_more_classes(tmp_path):
    """And the user is told of it."""
    plan, three = plan_of(tmp_path), facts(20, 20, 20)

    assert settings_of(adapt_plan(plan, three))["cnn"].output == "softmax"
    assert "output softmax instead of sigmoid, for 3 classes: cnn" in messages.adaptation_messages(
        plan, three
    )
    assert settings_of(adapt_plan(plan, facts(20, 20)))["cnn"].output == "sigmoid"


def test_a_sigmoid_over_the_suites_own_classes_stays_a_mistake(tmp_path):
    """A suite that contradicts itself is refused, not mended."""
    fitted = adapt_plan(plan_of(tmp_path), facts(20, 20, 20, is_own=False, is_lenient=False))

    with pytest.raises(SuiteError, match="sigmoid distinguishes 2 classes, the dataset has 3"):
        build_workloads(fitted, channels=3, classes=3)


def test_limits_that_leave_nothing_out_are_lifted(tmp_path):
    """Others stay; where a class is smaller than its share, it gives what it has."""
    plan = plan_of(tmp_path)

    assert settings_of(adapt_plan(plan, facts(15, 20)))["cnn"].train_images is None
    assert settings_of(adapt_plan(plan, facts(15, 60)))["cnn"].train_images == 40
    (first, *_) = preview_trials(plan, facts(15, 60))
    assert first.train_images + first.validation_images == 15 + 20


@pytest.mark.parametrize(
    ("own", "told", "limits"),
    [
        (
            facts(8, 8, train=(8, 8), test=(2, 3)),
            "fewer images than the suite asks for: 16 of 40 for training, 5 of 10 for the test",
            (None, None),
        ),
        (
            # Two to learn and validate with, one for the test.
            facts(*(9,) * 26),
            "more images than the suite asks for, as every class needs some: "
            "52 instead of 40 for training, 26 instead of 10 for the test",
            (52, 26),
        ),
    ],
)
def test_too_few_images_or_a_limit_too_low_are_told_in_one_line(tmp_path, own, told, limits):
    """What there is, of what the suite asks for; whatever that is, every class gets some."""
    plan = plan_of(tmp_path)

    settings = settings_of(adapt_plan(plan, own))["cnn"]

    assert told in messages.adaptation_messages(plan, own)
    assert (settings.train_images, settings.test_images) == limits


def test_a_suites_own_dataset_is_not_adapted(tmp_path):
    """Limits, figures, source and title are as written."""
    plan = plan_of(tmp_path)
    given = facts(9, 9, is_own=False, is_lenient=False)

    fitted = adapt_plan(plan, given)

    assert settings_of(fitted)["cnn"] == settings_of(plan)["cnn"]
    assert [cell.published for cell in fitted.cells] == [cell.published for cell in plan.cells]
    assert fitted.dataset == plan.dataset
    assert messages.title(plan, given) == "Cats and dogs"
    assert list(messages.adaptation_messages(plan, given)) == []


def test_no_figure_of_photographs_stands_beside_drawn_pictures(tmp_path):
    """Whoever reads both in one row compares them."""
    fitted = adapt_plan(plan_of(tmp_path), DatasetInfo.of_drawn())

    assert all(cell.published is None for cell in fitted.cells)


def test_own_pictures_are_not_called_cats_and_dogs(tmp_path):
    """No figure and no title of another dataset stands over them."""
    plan, mine = plan_of(tmp_path), facts(9, 9)

    fitted = adapt_plan(plan, mine)

    assert all(cell.published is None for cell in fitted.cells)
    assert fitted.dataset.source == "folder"
    assert messages.title(plan, mine) == "mine: 2 classes, with suite pets"
    told = list(messages.adaptation_messages(plan, mine))
    assert told[0] == "mine: your pictures, 2 classes: a (18), b (18)"
    assert "cats_dogs" in told[1]
    assert "figures published for it are left out" in told[1]


@pytest.mark.parametrize(("benchmarks", "depth"), [(("cnn",), 1), (("cnn", "bottleneck"), 3)])
def test_grey_pictures_get_three_channels_where_a_backbone_wants_them(tmp_path, benchmarks, depth):
    """Alone, a network of one's own learns from grey ones as they are."""
    for label in ("a", "b"):
        for number in range(5):
            save(tmp_path / "data" / label / f"{number}.png", seed=number, mode="L")
    plan_of(tmp_path)
    plan = resolve(load(tmp_path / "pets.toml"), profile=None, benchmarks=benchmarks)

    inputs = inputs_of(plan, tmp_path, tmp_path / "data")

    assert inputs.prepared(inputs.plan.cells[0]).images.shape[3] == depth
    assert channels(plan, inputs.dataset) == inputs.describe_dataset()["channels"] == depth
    told = list(messages.adaptation_messages(plan, inputs.dataset))
    assert any("grayscale images are converted to RGB" in line for line in told) == (depth == 3)


def test_grey_clothes_can_be_told_apart_by_a_backbone(tmp_path):
    """What colour needs is asked for by preprocessing too."""
    suite = SUITE.replace('output = "sigmoid"', 'preprocessing = "caffe_bgr"')
    grey = facts(9, 9, 9, channels=1, is_own=False)

    plan = resolve(load_text(tmp_path, suite), profile=None, benchmarks=("cnn",))

    assert channels(plan, grey) == 3


def load_text(folder: Path, suite: str):
    """Return the suite of a text."""
    (folder / "pets.toml").write_text(suite)
    return load(folder / "pets.toml")


def test_a_class_that_is_too_small_is_named_with_what_is_needed(tmp_path):
    """One image to learn from, one to validate with, one for the test."""
    for label, count in (("a", 6), ("bé", 2)):
        for number in range(count):
            save(tmp_path / "data" / label / f"{number}.jpg", seed=number)

    with pytest.raises(DatasetError, match=r"two readable training images.*fewer of bé"):
        inputs_of(plan_of(tmp_path), tmp_path, tmp_path / "data")


@pytest.mark.parametrize("track", ["equal", "native"])
def test_own_files_that_loaders_would_read_otherwise_are_refused(tmp_path, track):
    """Before any trial, with the way out."""
    odd_folder(tmp_path / "data")
    for path in [*(tmp_path / "data").glob("*/*.webp"), *(tmp_path / "data").glob("*/*.[gb]*")]:
        path.unlink()
    suite = SUITE.replace('backends = ["numpy"]', f'backends = ["numpy"]\ntracks = ["{track}"]')
    suite = suite.replace('output = "sigmoid"', 'input = "files"')

    with pytest.raises(DatasetError, match=r"decodes alike, found: .*set input = .prepared"):
        inputs_of(plan_of(tmp_path, suite), tmp_path, tmp_path / "data")


def test_own_cats_and_dogs_are_the_suites_dataset(tmp_path):
    """Only that fewer of them are enough, when they are named on the command line."""
    save_classes(tmp_path / "data", train=8, test=3)
    plan = plan_of(tmp_path)

    inputs = inputs_of(plan, tmp_path, tmp_path / "data")

    assert inputs.listing.name == inputs.describe_dataset()["name"] == "cats_dogs"
    assert not inputs.dataset.is_own
    assert inputs.plan.cells[0].published is not None
    assert [len(ids) for ids in inputs.prepared(inputs.plan.cells[0]).splits.values()] == [
        12,
        4,
        6,
    ]


def test_a_suite_that_names_its_folder_still_insists_on_its_numbers(tmp_path):
    """What its author wrote is not mended in silence."""
    save_classes(tmp_path / "data", train=8, test=3)
    suite = SUITE.replace('source = "cats_dogs"', 'source = "cats_dogs"\npath = "data"')

    with pytest.raises(DatasetError, match="ask for at most 16"):
        inputs_of(plan_of(tmp_path, suite), tmp_path, None)


def test_a_preview_counts_own_pictures(tmp_path):
    """Nothing is decoded for it."""
    odd_folder(tmp_path / "data")
    plan = plan_of(tmp_path)
    places = SearchPaths(environment={}, cache=tmp_path / "cache", data=tmp_path / "data")

    found = dataset_info(plan, places=places)
    (first, *_) = preview_trials(plan, found)

    assert found.sizes == (10, 10, 10)
    assert (first.train_images + first.validation_images, first.test_images) == (24, 6)
    assert not (tmp_path / "cache").exists()


def test_the_title_says_what_was_converted_and_what_guessing_gives():
    """In terminal, Markdown and page alike."""
    dataset = {
        "name": "mine", "origin": "class folders in mine", "is_real": True, "classes": ["a", "b"],
        "converted": {"cmyk": 3, "WEBP": 2}, "majority_share": 0.75,
        "leaks": {"count": 0, "first": []}, "mended": [],
    }  # fmt: skip

    told = inputs_text({"dataset": dataset})

    assert "converted while decoding: 3 CMYK, 2 WebP" in told
    assert "always guessing the largest class is right on 0.75 of the test images" in told
    assert "guessing" not in inputs_text({"dataset": dataset | {"majority_share": 0.5}})


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, with a folder of odd pictures in it."""
    place = tmp_path_factory.mktemp("own")
    odd_folder(place / "Mes [red]photos")
    return place


def test_a_folder_is_all_that_a_run_needs(odd: Path):
    """The built-in suite is named, a copy can be had, and what was done to the pictures is told."""
    shutil.copytree(odd / "Mes [red]photos", odd / "more" / "Mes [red]photos")
    broken = odd / "more" / "Mes [red]photos" / CLASSES[1] / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff broken")

    done = run(
        "--data", "more/Mes [red]photos", "--backend", "numpy", "--profile", "smoke", "--benchmark",
        "dataset", "--benchmark", "simple_cnn", "--results", "one", cwd=odd,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "suite images on " in done.stderr
    assert "for a copy to edit: benchharness run --write-suite my_suite.toml" in done.stderr
    assert f"3 classes: {CLASSES[0]} (10), {CLASSES[1]} (11), {CLASSES[2]} (10)" in done.stderr
    assert "skipped 1 unreadable images: " in done.stderr
    converted = (
        "converted while decoding: 3 CMYK, 3 with transparency (laid on white), "
        "3 rotated by EXIF, 3 of 16 bits (scaled to 8), 9 grey (given three channels), "
        "9 PNG, 3 WebP, 3 GIF, 3 BMP"
    )
    assert converted in done.stderr
    shown = " ".join(done.stdout.split())
    assert "Mes [red]photos: 3 classes, with suite images" in shown
    assert converted in shown
    written = latest(odd / "one")
    assert written["dataset"]["converted"]["cmyk"] == 3
    assert written["dataset"]["is_own"]
    assert 0.3 < written["dataset"]["majority_share"] < 0.45
    assert (
        "not read: 1 picture to be converted to JPEG or PNG: HEIC (1)"
        in (written["dataset"]["notes"])
    )


@pytest.mark.usefixtures("pages")
def test_the_suite_of_cats_and_dogs_runs_on_any_classes(odd: Path):
    """With three classes of its own; what is shared has the folder's name and not its path."""
    path = str(odd / "Mes [red]photos")
    done = run(
        str(SUITES / "cats_dogs.toml"), "--data", path, "--backend", "numpy",
        "--profile", "smoke", "--benchmark", "dataset", "--benchmark", "simple_cnn",
        "--results", "two", cwd=odd,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "they replace cats_dogs" in done.stderr
    assert "3 CMYK" in done.stderr
    assert "Cats and dogs" not in done.stdout
    assert "0.8000" not in done.stdout
    written = latest(odd / "two")
    assert written["dataset"]["classes"] == list(CLASSES)
    assert written["title"] == "Mes [red]photos: 3 classes, with suite cats_dogs"
    (settings,) = [
        cell["settings"]
        for cell in written["resolved"]["cells"]
        if cell["benchmark"] == "simple_cnn"
    ]
    assert settings["output"] == "softmax"
    pages = [*(odd / "two").glob("*/*/report.html"), *(odd / "two").glob("*/*/*.csv")]
    assert len(pages) > 2
    assert not [page for page in pages if path in page.read_text()]
    assert path not in done.stdout + json.dumps(written["dataset"])


def test_a_copy_of_the_built_in_suite_is_written_once(tmp_path: Path):
    """And is the suite that runs without one."""
    first = run("--write-suite", "mine.toml", cwd=tmp_path)
    again = run("--write-suite", "mine.toml", cwd=tmp_path)

    assert first.returncode == 0
    assert "benchharness run mine.toml --data DIR" in first.stdout
    assert (tmp_path / "mine.toml").read_text() == IMAGES.read_text()
    assert again.returncode == 2
    assert "File exists" in again.stderr


def test_without_suite_and_pictures_nothing_can_run(tmp_path: Path):
    """The message says what either would be."""
    done = run(cwd=tmp_path)

    assert done.returncode == 2
    assert "--data DIR with a folder of pictures for each class" in done.stderr


@pytest.mark.parametrize("profile", [None, *load(IMAGES).profiles])
def test_the_built_in_suite_resolves_in_every_profile(profile):
    """Four ways to learn, and unreadable pictures are left out."""
    plan = resolve(load(IMAGES), profile=profile)

    assert {cell.strategy for cell in plan.cells} == {
        "dataset", "simple_cnn", "bottleneck", "fine_tune",
    }  # fmt: skip
    assert plan.dataset.on_bad_image == "skip"


@pytest.mark.full
def test_a_framework_learns_three_odd_classes(odd: Path):
    """The whole way in PyTorch: softmax, and as many parameters as three classes need."""
    pytest.importorskip("benchharness_torch")

    done = run(
        str(SUITES / "cats_dogs.toml"), "--data", "Mes [red]photos", "--backend", "torch",
        "--profile", "smoke", "--benchmark", "simple_cnn", "--results", "three", cwd=odd,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert latest(odd / "three")["dataset"]["classes"] == list(CLASSES)

"""Agreement of run, preview and doctor: they refuse the same, before an image is decoded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from photographs import save_classes
from suite_files import suite_of

from benchharness.data.info import DatasetInfo
from benchharness.doctor.data import datasets, weights, weights_checks
from benchharness.errors import BenchError, DatasetError, WeightsError
from benchharness.model.backbones import BACKBONES
from benchharness.pytest_plugin.suites import smallest_plan
from benchharness.run import messages
from benchharness.run.dry_run import check_weights, dataset_info
from benchharness.run.inputs import SearchPaths, find_inputs
from benchharness.run.session import absent_backends
from benchharness.suite.load import load
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import resolve

HEAD = 'name = "pets"\ntrials = 1\nbackends = ["numpy"]\n[dataset]\n'
CNN = (
    '[defaults]\nimage_size = 16\n[[benchmark]]\nname = "cnn"\nstrategy = "simple_cnn"\n'
    "filters = [2]\ndense = 4\nvalidation = 0.25\n"
)
TRANSFER = '[[benchmark]]\nname = "transfer"\nstrategy = "bottleneck"\n'
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 58889256\n"
FILE = BACKBONES["vgg16"].releases["imagenet"].file


def plan_of(folder: Path, text: str) -> Plan:
    """Return the plan of a suite."""
    path = folder / "pets.toml"
    path.write_text(text)
    return resolve(load(path), profile=None)


def places_of(folder: Path, **environment: str) -> SearchPaths:
    """Return where to look: there, and in these variables."""
    return SearchPaths(environment=environment, cache=folder / "cache")


def run(plan: Plan, places: SearchPaths) -> None:
    """Find and decode what a run reads."""
    find_inputs(plan, places=places).decode_images()


def preview(plan: Plan, places: SearchPaths) -> DatasetInfo:
    """Look at what a preview does."""
    facts = dataset_info(plan, places=places)
    check_weights(plan, places=places)
    return facts


def refusals(plan: Plan, places: SearchPaths) -> list[str]:
    """Return what a preview and a run say against a plan."""
    looks: tuple[Callable[[Plan, SearchPaths], object], ...] = (preview, run)
    said = []
    for look in looks:
        with pytest.raises(BenchError) as caught:
            look(plan, places)
        said.append(str(caught.value))
    assert not (places.cache / "prepared").exists()
    return said


def test_photographs_that_are_there_but_not_whole_are_not_called_absent(tmp_path: Path) -> None:
    """No drawn pictures take their place: neither in a run nor in its preview."""
    save_classes(tmp_path / "cats_dogs", train=2, test=1)
    for file in (tmp_path / "cats_dogs/test/dogs").iterdir():
        file.unlink()
    plan = plan_of(tmp_path, HEAD + 'source = "cats_dogs"\nfallback = "drawn"\n' + CNN)
    places = places_of(tmp_path, BENCHHARNESS_DATA=str(tmp_path))

    first, second = refusals(plan, places)

    assert first == second
    assert "cats_dogs/test: expected images in every class folder, found none in dogs" in first
    found = {one.name: one for one in datasets(environment=places.environment, cache=places.cache)}
    assert found["cats_dogs"].damage == first


def test_more_images_than_there_are_is_said_before_any_is_decoded(tmp_path: Path) -> None:
    """As the suite's author wrote it, so it is held."""
    save_classes(tmp_path / "data", train=8, test=3)
    limits = "[defaults]\ntrain_images = 40\nimage_size = 16\n"
    text = HEAD + 'source = "folder"\npath = "data"\n'
    plan = plan_of(tmp_path, text + CNN.replace("[defaults]\nimage_size = 16\n", limits))

    first, second = refusals(plan, places_of(tmp_path))

    assert first == second
    assert "expected 40 images, 20 of cats; found 16, 8 of cats; ask for at most 16" in first


def test_a_class_that_cannot_be_validated_is_said_before_any_is_decoded(tmp_path: Path) -> None:
    """One picture alone is either learnt from or held out."""
    save_classes(tmp_path / "data", train=1, test=1)
    plan = plan_of(tmp_path, HEAD + 'source = "folder"\npath = "data"\n' + CNN)

    first, second = refusals(plan, places_of(tmp_path))

    assert first == second
    assert "found fewer of cats, dogs" in first


@pytest.mark.parametrize("where", ["suite", "variable"])
def test_weights_that_are_a_pointer_are_called_so(tmp_path: Path, where: str) -> None:
    """By a run, its preview and the doctor; nothing is trained with them."""
    save_classes(tmp_path / "data", train=4, test=2)
    (tmp_path / FILE).write_bytes(POINTER)
    named = f'[weights]\nvgg16 = "{FILE}"\n' if where == "suite" else ""
    variables = {} if named else {"BENCHHARNESS_WEIGHTS": str(tmp_path)}
    plan = plan_of(tmp_path, HEAD + 'source = "folder"\npath = "data"\n' + named + TRANSFER)

    places = places_of(tmp_path, **variables)
    with pytest.raises(WeightsError, match="Git LFS pointer, run `git lfs pull`"):
        preview(plan, places)
    with pytest.raises(WeightsError, match="Git LFS pointer, run `git lfs pull`"):
        run(plan, places)

    if variables:
        supplies = list(weights(environment=places.environment, cache=places.cache))
        (finding,) = weights_checks(plan, supplies)
        assert finding.mark == "missing"
        assert "Git LFS pointer, run `git lfs pull`" in finding.text


def test_a_variable_that_names_no_weights_is_refused_by_all(tmp_path: Path) -> None:
    """Random ones would not take their place in a run."""
    save_classes(tmp_path / "data", train=4, test=2)
    plan = plan_of(
        tmp_path,
        'weights_fallback = "random"\n' + HEAD + 'source = "folder"\npath = "data"\n' + TRANSFER,
    )
    places = places_of(tmp_path, BENCHHARNESS_WEIGHTS=str(tmp_path / "nowhere"))

    with pytest.raises(WeightsError, match="found none"):
        preview(plan, places)
    with pytest.raises(WeightsError, match="found none"):
        run(plan, places)
    supplies = list(weights(environment=places.environment, cache=places.cache))
    assert [finding.mark for finding in weights_checks(plan, supplies)] == ["missing"]


def test_run_and_preview_print_the_same_of_a_folder(tmp_path: Path) -> None:
    """Where the test set is from, and what is left out; with --data and with a path alike."""
    data = save_classes(tmp_path / "data", train=4, test=2)
    (data / "test").rename(data / "unlabelled")
    (data / "unlabelled/cats").rename(data / "test1")
    plan = plan_of(tmp_path, HEAD + 'source = "folder"\npath = "data"\n' + CNN)
    named = SearchPaths(environment={}, cache=tmp_path / "cache", data=data)

    said = [list(messages.source_messages(dataset_info(plan, places=places_of(tmp_path))))]
    inputs = find_inputs(plan, places=places_of(tmp_path))
    said.append(list(messages.source_messages(inputs.dataset)))
    own = plan_of(tmp_path, HEAD + 'source = "cats_dogs"\n' + CNN)
    said.append(list(messages.source_messages(dataset_info(own, places=named))))

    origin, *notes = said[0]
    assert said[1] == said[0]
    assert said[2][1:] == notes
    assert "no test set: 2 of 8 drawn as one (20 % of each class, seed 0)" in origin
    assert notes == [
        "not read: 2 pictures of a test folder without these classes: test1 (2)",
        "not read: 2 pictures in no class: unlabelled/dogs (2)",
    ]


@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_a_try_out_takes_as_few_images_as_there_are(tmp_path: Path, layout: str) -> None:
    """With --benchmark-disable and -n 2 need no larger dataset than the suite does."""
    data = save_classes(tmp_path / "data", train=3, test=1, classes=("a", "b", "c"))
    if layout == "flat":
        for number, file in enumerate(sorted(data.glob("*/*/*.jpg"))):
            file.rename(data / f"{file.parent.name}.{number}.jpg")
        for split in ("train", "test"):
            shutil.rmtree(data / split)
    source = "folder" if layout == "folders" else "flat"
    plan = plan_of(tmp_path, HEAD + f'source = "{source}"\npath = "data"\n' + CNN)

    inputs = find_inputs(smallest_plan(plan), places=places_of(tmp_path))
    inputs.decode_images()

    (cell,) = inputs.plan.cells
    assert all(len(ids) >= 3 for ids in inputs.prepared(cell).splits.values())


def test_nothing_that_is_shared_has_the_path_of_the_data(tmp_path: Path) -> None:
    """Its name is enough, for unreadable pictures and twins as well."""
    data = save_classes(tmp_path / "private" / "data", train=4, test=2)
    (data / "train/cats/cats.9.jpg").write_bytes(b"<html>")
    (data / "test/cats/twin.jpg").write_bytes((data / "train/cats/cats.0.jpg").read_bytes())
    text = HEAD + 'source = "folder"\non_bad_image = "skip"\n' + CNN
    places = SearchPaths(environment={}, cache=tmp_path / "cache", data=data)
    inputs = find_inputs(plan_of(tmp_path, text), places=places)
    inputs.decode_images()

    dataset = inputs.describe_dataset()

    assert "private" not in str(dataset)
    assert dataset["slices"][0]["skipped"] == [
        "data/train/cats/cats.9.jpg (an HTML page, which a failed download leaves)"
    ]
    assert dataset["leaks"]["first"] == [["data/test/cats/twin.jpg", "data/train/cats/cats.0.jpg"]]


def test_an_error_of_a_folder_still_names_its_path(tmp_path: Path) -> None:
    """Who has to mend it needs it."""
    plan = plan_of(tmp_path, HEAD + 'source = "folder"\npath = "gone"\n' + CNN)

    with pytest.raises(DatasetError, match=str(tmp_path / "gone")):
        dataset_info(plan, places=places_of(tmp_path))


def test_a_class_of_pointers_alone_is_told_what_they_are(tmp_path: Path) -> None:
    """Where unreadable pictures are left out, and nothing is left of a class."""
    data = save_classes(tmp_path / "data", train=3, test=2)
    for file in (data / "train/cats").iterdir():
        file.write_bytes(POINTER)
    text = HEAD + 'source = "folder"\npath = "data"\non_bad_image = "skip"\n' + CNN

    with pytest.raises(DatasetError, match=r"found none of cats; the first of 3: .*`git lfs pull`"):
        run(plan_of(tmp_path, text), places_of(tmp_path))


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_backend_that_is_not_installed_is_said_beforehand(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """By a run and by its preview; the others run."""
    save_classes(tmp_path / "data", train=4, test=2)
    backends = 'backends = ["numpy"]'
    text = HEAD + 'source = "folder"\npath = "data"\n' + CNN
    assert backends in text
    (tmp_path / "pets.toml").write_text(text.replace(backends, 'backends = ["numpy", "mxnet"]'))

    done = subprocess.run(
        [sys.executable, "-m", "benchharness", "run", "pets.toml", "--no-proof", *arguments],
        cwd=tmp_path,
        env={**os.environ, "BENCHHARNESS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
    )

    (line,) = (line for line in done.stderr.splitlines() if "not installed" in line)
    assert line == (
        "WARNING: mxnet is not installed, and its trials fail; "
        "benchharness list shows what is installed"
    )
    assert "numpy" in done.stdout
    assert done.returncode == (0 if arguments else 1)


def test_a_backend_that_only_a_revision_brings_is_not_called_absent(tmp_path: Path):
    """Its code is not what this process would import."""
    text = HEAD.replace("numpy", "mxnet") + 'source = "drawn"\n' + CNN
    plan = resolve(suite_of(tmp_path, text), profile=None)

    assert len(absent_backends(plan, elsewhere={})) == 1
    assert absent_backends(plan, elsewhere={"mxnet": None}) == []

"""Tasks of a backend, made from a suite with tracks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from photographs import save_classes

from benchharness.errors import DatasetError
from benchharness.measure.clock import PhaseClock
from benchharness.run.device import Device
from benchharness.run.inputs import RunInputs, SearchPaths, find_inputs
from benchharness.run.options import RunOptions
from benchharness.run.session import Session
from benchharness.suite.load import load
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import resolve
from benchharness.testing.plugin import benchharness_backend
from benchharness.worker.context import TrialContext, load_context
from benchharness.worker.progress import Channel

SUITE = """
name = "pets"
trials = 1
backends = ["numpy"]
tracks = ["equal", "native"]
[dataset]
source = "folder"
path = "data"
[defaults]
image_size = 16
batch_size = 3
validation = 0.0
augmentation = { flip_horizontal = true, zoom = 0.5, crop = 0.0 }
[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
filters = [2]
dense = 4
optimizer = { lr = 0.5 }
"""


def plan_of(folder: Path, *, settings: str = "", suite: str = SUITE) -> Plan:
    """Return the plan of the suite above, its images beside it."""
    save_classes(folder / "data", train=4, test=2)
    (folder / "pets.toml").write_text(suite + settings)
    return resolve(load(folder / "pets.toml"), profile=None)


def inputs_of(plan: Plan, folder: Path) -> RunInputs:
    """Return the plan's images, prepared."""
    places = SearchPaths(environment={}, cache=folder / "cache")
    inputs = find_inputs(plan, places=places)
    inputs.decode_images()
    return inputs


def contexts(folder: Path, *, settings: str = "") -> Mapping[str, TrialContext]:
    """Return what the trial of each track works with."""
    plan = plan_of(folder, settings=settings)
    session = Session(
        options=RunOptions(suite=folder / "pets.toml"),
        plan=plan,
        device=Device(kind="cpu", index=None, name="a processor"),
        accelerators=(),
        places=SearchPaths(environment={}, cache=folder / "cache"),
    )
    requests = session.requests(inputs_of(plan, folder))
    return {
        trial.cell.track: load_context(
            requests.trial(trial),
            benchharness_backend(options={}),
            Channel(emit=lambda event: None, clock=PhaseClock(started_s=0.0)),
        )
        for trial in plan.trials()
    }


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, TrialContext]:
    """The two tracks of the suite as it is."""
    return contexts(tmp_path_factory.mktemp("pets"))


def test_equal_track_states_everything_and_gives_pixels(pets: Mapping[str, TrialContext]) -> None:
    """The task is as if there were no tracks."""
    context = pets["equal"]

    task = context.image_task(context.workload.learner, weights={}, trainable=())

    assert (task.files, task.native, task.is_augmented) == (None, None, True)
    assert task.optimizer is not None
    batch = context.epochs(context.prepared.images, task)[0][0]
    assert batch.inputs.shape == (3, 16, 16, 3)


def test_equal_track_may_load_files_in_the_cores_order(tmp_path: Path) -> None:
    """Batches tell ids and warps, and hold no pixels; paths are by id."""
    context = contexts(tmp_path, settings='input = "files"\n')["equal"]

    task = context.image_task(context.workload.learner, weights={}, trainable=())

    assert task.files is not None
    assert task.files.folder is None
    assert len(task.files.paths) == len(context.prepared.images)
    for batch in context.epochs(context.prepared.images, task)[0]:
        assert batch.inputs.shape == (len(batch), 0, 0, 0)
        assert batch.warp is not None
        names = [Path(task.files.paths[image]).parent.name for image in batch.ids]
        assert names == [("cats", "dogs")[label] for label in batch.labels]


def test_native_track_states_only_what_the_suite_does(pets: Mapping[str, TrialContext]) -> None:
    """The recipe's rule, the suite's rate, and the kinds of augmentation that are in use."""
    context = pets["native"]

    task = context.image_task(context.workload.learner, weights={}, trainable=())

    assert task.native is not None
    assert dict(task.native.optimizer) == {"name": "adam", "lr": 0.5}
    assert dict(task.native.augmentation) == {"flip_horizontal": True, "zoom": 0.5}
    assert task.native.batch_size == 3
    assert task.optimizer is None


def test_native_track_loads_a_folder_of_the_training_images(
    pets: Mapping[str, TrialContext],
) -> None:
    """Its loader varies the images, so that batches carry no warps; they tell how many to load."""
    context = pets["native"]

    task = context.image_task(context.workload.learner, weights={}, trainable=())

    assert task.files is not None
    assert len(list(Path(task.files.folder or "").glob("*/*.jpg"))) == 8
    assert not task.is_augmented
    batches = context.epochs(context.prepared.images, task)[0]
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert all(batch.warp is None for batch in batches)


def test_native_track_on_prepared_images_takes_the_cores_warps(tmp_path: Path) -> None:
    """Only the loader is the core's then."""
    context = contexts(tmp_path, settings='input = "prepared"\n')["native"]

    task = context.image_task(context.workload.learner, weights={}, trainable=())

    assert task.files is None
    assert task.native is not None
    assert task.is_augmented


def test_files_that_cannot_be_loaded_are_refused_before_anything_runs(tmp_path: Path) -> None:
    """Preparing the run finds them."""
    plan = plan_of(tmp_path)
    image = tmp_path / "data/train/cats/cats.0.jpg"
    image.rename(image.with_suffix(".webp"))

    with pytest.raises(DatasetError, match=r"cats\.0\.webp: expected a JPEG or PNG file"):
        inputs_of(plan, tmp_path)


def test_numpy_is_not_imported_before_a_worker_is_confined():
    """Its threads would start on all cores, whatever the suite states."""
    words = "import sys, benchharness.worker.main; print('numpy' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"

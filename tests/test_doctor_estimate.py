"""Time of a plan: sums of costs and tempos, done by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from suite_files import PETS, suite_of

from benchharness.data.info import DatasetInfo
from benchharness.run.dry_run import TrialPreview, preview_trials
from benchharness.run.estimate.calibration import BackendSpeed, CalibrationStore, ImageSpeed
from benchharness.run.estimate.costs import Cost, forward_step, training_step
from benchharness.run.estimate.duration import format_duration_range
from benchharness.run.estimate.estimate import (
    estimate,
    extraction_s,
    pictures_s,
    proof_s,
    trial_s,
    uncertainty,
)
from benchharness.suite.resolve import resolve

STILL = BackendSpeed(
    start_s=0.0,
    build_s=0.0,
    build_layer_s=0.0,
    call_s=0.0,
    score_s=0.0,
    flop_s=0.0,
    activation_byte_s=0.0,
    parameter_byte_s=0.0,
    pixel_s=0.0,
    warp_s=0.0,
    product_flops_per_s=float("inf"),
    framework_bytes=0,
)
IMAGES = ImageSpeed(decode_s=0.5, draw_s=2.0)
FEED = '[[benchmark]]\nname = "feed"\nstrategy = "dataset"\nepochs = 3\nbatch_size = 10\n'
CNN = (
    '[[benchmark]]\nname = "cnn"\nstrategy = "simple_cnn"\nepochs = 2\nbatch_size = 10\n'
    "filters = [4]\ndense = 8\n"
)
BOTTLENECK = '[[benchmark]]\nname = "bottleneck"\nstrategy = "bottleneck"\nbatch_size = 10\n'
SMALL = "[defaults]\nimage_size = 32\ntrain_images = 50\ntest_images = 20\n"


@pytest.fixture
def forecasts(tmp_path: Path):
    """Return a function that gives the forecasts of a suite's benchmarks, on drawn pictures."""

    def make(benchmarks: str, *, head: str = PETS) -> list[TrialPreview]:
        plan = resolve(suite_of(tmp_path, head + SMALL + benchmarks), profile=None)
        return list(preview_trials(plan, DatasetInfo.of_drawn()))

    return make


def of(forecasts: list[TrialPreview], tempo: BackendSpeed) -> float:
    """Return the seconds of the first trial."""
    return trial_s(forecasts[0], tempo, decode_s=0.0)


def test_costs_add_up_to_seconds():
    """2 calls, 30 operations, 40 and 50 bytes at 1, 0.1, 0.01 and 0.001 seconds."""
    tempo = replace(STILL, call_s=1.0, flop_s=0.1, activation_byte_s=0.01, parameter_byte_s=0.001)
    cost = Cost(calls=2, flops=30, activation_bytes=40, parameter_bytes=50)

    assert tempo.seconds(cost) == pytest.approx(2 + 3 + 0.4 + 0.05)
    assert tempo.seconds(cost * 2 + cost) == pytest.approx(3 * tempo.seconds(cost))


def test_feeding_takes_its_process_its_steps_and_its_pixels(forecasts):
    """50 pictures of 32 x 32, three times, in steps of ten."""
    tempo = replace(STILL, start_s=100.0, build_s=10.0, call_s=1.0, pixel_s=1e-3, warp_s=5.0)

    assert of(forecasts(FEED), tempo) == pytest.approx(110 + 15 + 3 * 50 * 1024 * 1e-3)


def test_augmentation_costs_each_pixel_as_often_as_it_is_seen(forecasts):
    """What is not augmented has none of it."""
    tempo = replace(STILL, warp_s=1e-3)
    plain, warped = FEED, FEED + "augmentation = { flip_horizontal = true }\n"

    assert of(forecasts(plain), tempo) == 0.0
    assert of(forecasts(warped), tempo) == pytest.approx(3 * 50 * 1024 * 1e-3)


def test_training_takes_its_steps_and_two_to_warm_up(forecasts):
    """40 of 50 pictures learn, twice, in steps of ten: eight steps, and two before them."""
    (first, *_) = found = forecasts(CNN)
    learner, trainable = first.workload.learner, first.workload.trainable
    step = training_step(learner, trainable, batch_size=10, states=2)
    scored = forward_step(learner, batch_size=10)
    tempo = replace(STILL, flop_s=1e-6)

    # Ten pictures are held out and scored after both epochs and at the end, with 20 of the test.
    expected = 10 * step.flops + (3 * 10 + 20) / 10 * scored.flops
    drawing = first.params * 1.5e-8
    assert of(found, tempo) == pytest.approx(expected * 1e-6 + drawing)


def test_each_scoring_costs_a_call_of_its_own(forecasts):
    """After both epochs, and once at the end."""
    found = forecasts(CNN)
    silent = of(found, STILL)

    assert of(found, replace(STILL, score_s=1.0)) - silent == pytest.approx(3.0)


def test_layers_are_built_one_by_one(forecasts):
    """A network of n layers: what every network takes, and n times a layer's."""
    (first, *_) = found = forecasts(CNN)
    layers = len(first.workload.learner.layers)
    silent = of(found, STILL)

    tempo = replace(STILL, build_s=5.0, build_layer_s=1.0)
    assert of(found, tempo) - silent == pytest.approx(5 + layers)


def test_files_are_decoded_in_every_epoch(forecasts):
    """A backend that loads files decodes 40 pictures twice; scores come from prepared ones."""
    found = forecasts(CNN + 'input = "files"\n')

    files = trial_s(found[0], STILL, decode_s=1.0) - trial_s(found[0], STILL, decode_s=0.0)
    assert files == pytest.approx(2 * 40)


def test_pictures_of_one_size_are_decoded_once(forecasts):
    """Four trials of two benchmarks read the same 70 pictures; half a second each, on two cores."""
    found = forecasts(FEED + CNN)

    assert pictures_s(found, IMAGES, cores=2, is_drawn=False) == pytest.approx(70 * 0.5 / 2)
    assert pictures_s(found, IMAGES, cores=2, is_drawn=True) == pytest.approx(17.5 + 70 * 2)


def test_pictures_of_another_size_are_decoded_again(forecasts):
    """Two sizes, two times 70 pictures."""
    found = forecasts(FEED + CNN + "image_size = 40\n")

    assert pictures_s(found, IMAGES, cores=1, is_drawn=False) == pytest.approx(140 * 0.5)


def test_features_are_extracted_once_for_each_backend(forecasts):
    """Three trials of two backends: two extractions of 70 pictures."""
    found = forecasts(BOTTLENECK, head=PETS.replace("seed = 7", "seed = 7\ntrials = 3"))
    front = found[0].workload.front
    tempo = replace(STILL, flop_s=1e-12)

    once = 70 * front.flops_per_image() * 1e-12
    assert len(found) == 6
    assert extraction_s(found, {"keras": tempo, "torch": tempo}) == pytest.approx(2 * once)


def test_features_that_are_not_reused_are_extracted_in_each_trial(forecasts):
    """Three trials of two backends: six extractions."""
    found = forecasts(
        BOTTLENECK + "reuse_features = false\n",
        head=PETS.replace("seed = 7", "seed = 7\ntrials = 3"),
    )
    front = found[0].workload.front
    tempo = replace(STILL, flop_s=1e-12)

    once = 70 * front.flops_per_image() * 1e-12
    assert extraction_s(found, {"keras": tempo, "torch": tempo}) == pytest.approx(6 * once)


def test_a_proof_takes_a_process_for_each_backend_and_grows_with_the_cells(forecasts):
    """Starting is paid once for each backend, building for each cell."""
    tempo = replace(STILL, start_s=10.0)
    tempos = {"keras": tempo, "torch": tempo}
    one, two = forecasts(CNN), forecasts(CNN + CNN.replace('"cnn"', '"other"'))

    assert proof_s(one, tempos) == proof_s(two, tempos) == 20.0
    built = {name: replace(STILL, build_s=1.0) for name in tempos}
    assert proof_s(two, built) == pytest.approx(2 * proof_s(one, built))


def test_a_backend_alone_has_nothing_to_prove(forecasts):
    """There is nobody to do the same work as."""
    alone = forecasts(CNN, head=PETS.replace('["keras", "torch"]', '["torch"]'))

    assert proof_s(alone, {"torch": replace(STILL, start_s=10.0)}) == 0.0


def test_an_estimate_sums_trials_by_cell_and_tells_the_first_time_apart(forecasts):
    """Backends of one and three seconds a process, three trials and up to seven more; no proof."""
    found = forecasts(FEED)
    tempos = {"keras": replace(STILL, start_s=1.0), "torch": replace(STILL, start_s=3.0)}

    result = estimate(found, tempos, images=IMAGES, cores=1, is_drawn=False, has_proof=False)

    assert (result.trials_s, result.later_s) == (3 * 4.0, pytest.approx(7 * 4.0))
    assert {cell.backend: seconds for cell, seconds in result.cells} == {"keras": 3.0, "torch": 9.0}
    assert result.first_s == 70 * 0.5
    low, high = result.range_s
    assert low < 47.0 < 75.0 < high


def test_a_noisy_measurement_widens_the_range_upwards():
    """Where the median step took three times the fastest, so may the whole."""
    still, noisy = uncertainty([STILL]), uncertainty([STILL, replace(STILL, spread=3.0)])

    assert noisy[0] == still[0]
    assert noisy[1] > 2 * still[1]


@pytest.mark.parametrize(
    ("low_s", "high_s", "words"),
    [
        (3.2, 6.1, "3-7 s"),
        (31, 52, "30-55 s"),
        (250, 405, "4-7 min"),
        (90, 130, "1-3 min"),
        (5000, 9000, "1-2.5 h"),
        (100_000, 200_000, "27-56 h"),
        (0, 0, "1 s"),
    ],
)
def test_a_range_is_told_in_one_unit_and_never_closer_than_it_is_known(low_s, high_s, words):
    """Rounded outwards."""
    assert format_duration_range(low_s, high_s) == words


def measured(**changes: Any) -> BackendSpeed:
    """Return a tempo as it is kept."""
    return replace(STILL, product_flops_per_s=1e11, measured="2026-01-01T00:00:00+00:00", **changes)


def test_what_was_measured_is_kept_for_machine_and_options(tmp_path: Path):
    """Another machine or other options have nothing."""
    store = CalibrationStore(tmp_path, machine="this one (2 cores)")
    store.save("numpy", {}, measured(call_s=2.0))

    assert store.load("numpy", {}) == measured(call_s=2.0)
    assert store.load("numpy", {"engine": "jax"}) is None
    assert CalibrationStore(tmp_path, machine="another (2 cores)").load("numpy", {}) is None


def test_what_was_measured_ages_and_what_is_damaged_is_nothing(tmp_path: Path):
    """A day later it is a day old; half a file is no measurement."""
    store = CalibrationStore(tmp_path, machine="this one")
    store.save("numpy", {}, measured())
    (file,) = (tmp_path / "tempos").iterdir()

    kept = store.load("numpy", {})
    assert kept is not None
    assert kept.age_s(datetime.fromisoformat("2026-01-02T00:00:00+00:00")) == 86_400
    file.write_text(file.read_text()[:20])
    assert store.load("numpy", {}) is None


def test_a_backend_that_is_not_installed_was_never_measured(tmp_path: Path):
    """Looking for it is no error."""
    assert CalibrationStore(tmp_path, machine="this one").load("nowhere", {}) is None


def test_what_was_measured_of_pictures_is_kept(tmp_path: Path):
    """Whatever the backends."""
    store = CalibrationStore(tmp_path, machine="this one")
    assert store.load_images() is None

    store.save_images(IMAGES)

    assert store.load_images() == IMAGES

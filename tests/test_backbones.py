"""Pretrained weights that a benchmark admits, and the preprocessing that belongs to them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from safetensors.numpy import save_file
from suite_files import BOTTLENECK, CNN, HEAD, problems_of, suite_of

from benchharness.data.preprocessing import fit
from benchharness.errors import WeightsError
from benchharness.model.backbones import BACKBONES, LEARNT_WITH
from benchharness.model.network import Network
from benchharness.run.inputs import SearchPaths, find_inputs
from benchharness.suite.resolve import resolve
from benchharness.suite.settings import Preprocessing, TransferSettings
from benchharness.weights.pretrained import find_pretrained

VGG16 = BACKBONES["vgg16"]
DRAWN = HEAD + '[dataset]\nsource = "drawn"\n'
TINY = "image_size = 32\ntrain_images = 8\ntest_images = 4\n"


def stored(folder: Path, name: str, **metadata: str) -> Path:
    """Write a file of weights that says this of itself."""
    file = folder / name
    save_file({"a": np.zeros(1, np.float32)}, file, metadata=metadata or None)
    return file


def settled_preprocessing(folder: Path, benchmark: str, weights: Path) -> list[str]:
    """Return the preprocessing of each cell of a suite once its weights are found."""
    plan = resolve(suite_of(folder, DRAWN + benchmark + TINY), profile=None, backends=("torch",))
    places = SearchPaths(environment={"BENCHHARNESS_WEIGHTS": str(weights)}, cache=folder / "cache")
    inputs = find_inputs(plan, places=places)
    # What a trial will ask for, by settings that are settled.
    assert all(inputs.pretrained(cell) for cell in inputs.plan.cells)
    return [cell.settings.preprocessing for cell in inputs.plan.cells]


def test_settings_know_the_backbones_and_releases_that_there_are():
    """A backbone or a release that no suite can name would be of no use."""
    fields = TransferSettings.model_fields
    releases = {name for backbone in BACKBONES.values() for name in backbone.releases}

    assert set(get_args(fields["backbone"].annotation)) == set(BACKBONES)
    assert set(get_args(fields["weights"].annotation)) == releases | {"pretrained", "random"}
    assert set(get_args(get_args(Preprocessing)[0])) > LEARNT_WITH


@pytest.mark.parametrize(
    ("weights", "preprocessing", "admitted"),
    [
        ("pretrained", "pretrained", ["imagenet", "imagenet_torchvision"]),
        ("pretrained", "caffe_bgr", ["imagenet"]),
        ("pretrained", "imagenet_rgb", ["imagenet_torchvision"]),
        ("pretrained", "unit", ["imagenet", "imagenet_torchvision"]),
        ("imagenet", "pretrained", ["imagenet"]),
        ("imagenet", "imagenet_rgb", []),
        ("imagenet_torchvision", "caffe_bgr", []),
    ],
)
def test_preprocessing_of_one_release_admits_no_other(weights, preprocessing, admitted):
    """RGB of mean 0 and deviation 1 is nothing that Keras's weights have ever seen."""
    found = dict(VGG16.candidates(weights=weights, preprocessing=preprocessing))

    assert list(found) == admitted


def test_weights_with_the_preprocessing_of_others_are_a_mistake(tmp_path: Path):
    """The suite is told what these weights learnt with."""
    text = DRAWN + BOTTLENECK + 'weights = "imagenet"\npreprocessing = "imagenet_rgb"\n'

    problems = problems_of(tmp_path, text)

    assert len(problems) == 1
    assert 'preprocessing: expected "pretrained"' in problems[0]


def test_weights_of_another_backbone_are_a_mistake(tmp_path: Path):
    """The narrow network has never seen ImageNet."""
    text = DRAWN + BOTTLENECK + 'backbone = "vgg_mini"\nweights = "imagenet"\n'

    assert problems_of(tmp_path, text) == [
        'benchmark "bottleneck": weights: '
        'expected "pretrained", "drawn" or "random" for vgg_mini, found "imagenet"'
    ]


def test_without_a_backbone_there_is_no_pretrained_preprocessing(tmp_path: Path):
    """A network from scratch has nothing to take it from."""
    problems = problems_of(tmp_path, DRAWN + CNN + 'preprocessing = "pretrained"\n')

    assert len(problems) == 1
    assert "preprocessing" in problems[0]


@pytest.mark.parametrize("release", ["imagenet", "imagenet_torchvision"])
def test_each_release_brings_its_own_preprocessing_along(tmp_path: Path, release: str):
    """What the suite leaves open is settled by the weights; a tutorial's pixels / 255 stay."""
    network = Network(input_shape=(64, 64, 3), layers=VGG16.layers)
    arrays = {
        name: np.zeros(parameter.shape, np.float16)
        for name, parameter in network.parameters().items()
    }
    save_file(arrays, tmp_path / VGG16.releases[release].file)
    left_open, stated = (
        f'{BOTTLENECK}preprocessing = "{name}"\n' for name in ("pretrained", "unit")
    )

    assert settled_preprocessing(tmp_path, left_open, tmp_path) == [
        VGG16.releases[release].preprocessing
    ]
    assert settled_preprocessing(tmp_path, stated, tmp_path) == ["unit"]


def test_a_file_of_another_name_is_known_by_what_it_says_of_its_inputs(tmp_path: Path):
    """Whoever names torchvision's weights does not get Keras's preprocessing with them."""
    file = stored(tmp_path, "mine.safetensors", preprocessing="imagenet-rgb")

    found = find_pretrained("vgg16", VGG16.releases, path=file, environment={}, fallback=None)

    assert (found.release, found.preprocessing) == ("imagenet_torchvision", "imagenet_rgb")


def test_a_named_file_of_a_release_that_will_not_do_is_refused(tmp_path: Path):
    """Naming the file does not override what the suite says of the inputs."""
    file = stored(tmp_path, VGG16.releases["imagenet_torchvision"].file)
    admitted = {"imagenet": VGG16.releases["imagenet"]}

    with pytest.raises(WeightsError, match="release imagenet, found release imagenet_torchvision"):
        find_pretrained("vgg16", admitted, path=file, environment={}, fallback="random")


def test_imagenets_preprocessings_agree_but_for_scale_and_order():
    """Both take ImageNet's mean out, one of them also its deviation, and one swaps red and blue."""
    image = np.full((1, 2, 2, 3), 128, np.uint8)
    caffe, rgb = (
        fit(name, images=image, ids=np.arange(1)) for name in ("caffe_bgr", "imagenet_rgb")
    )

    assert caffe.order == rgb.order[::-1]
    np.testing.assert_allclose(caffe.mean[::-1], rgb.mean, atol=0.5)
    np.testing.assert_allclose(1 / np.array(rgb.scale), (58.395, 57.12, 57.375))

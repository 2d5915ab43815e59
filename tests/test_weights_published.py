"""Published weights: in a cache, by download, converted once, and never mistaken for others."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors import safe_open
from web_server import remote

from benchharness.download.fetcher import Fetcher
from benchharness.download.manifest import damages
from benchharness.download.registry import REGISTRY, RemoteResource, weights_home
from benchharness.download.transfer import Timeouts
from benchharness.errors import WeightsError
from benchharness.model.backbones import BACKBONES
from benchharness.model.network import Conv, MaxPool, Network
from benchharness.weights.initial import initial_weights
from benchharness.weights.pretrained import Pretrained, find_pretrained, read_pretrained
from benchharness.weights.reading import read
from benchharness.worker.request import WorkerRequest, run_in_worker

KERAS_FILE, TORCH_FILE = (
    REGISTRY[weights_home("vgg16", release)].files[0].name
    for release in ("imagenet", "imagenet_torchvision")
)
PATIENT = Timeouts(connect_s=60.0, answer_s=120.0, read_s=60.0, tries=3)
RELEASES = BACKBONES["vgg16"].releases
VGG16 = Network(input_shape=(64, 64, 3), layers=BACKBONES["vgg16"].layers)
SMALL = Network(
    input_shape=(8, 8, 3),
    layers=(
        Conv(name="block1_conv1", filters=4, padding="same"),
        Conv(name="block1_conv2", filters=5, padding="same"),
        MaxPool(name="block1_pool"),
    ),
)


def keras_file(path: Path, arrays) -> Path:
    """Write a weights file as Keras 1 did, with its long array names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = dict.fromkeys(name.split("/")[0] for name in arrays)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer)
            names = [f"{layer}_W_1:0", f"{layer}_b_1:0"]
            group.attrs["weight_names"] = [name.encode() for name in names]
            group[names[0]] = arrays[f"{layer}/kernel"]
            group[names[1]] = arrays[f"{layer}/bias"]
    return path


def torchvision_file(path: Path, arrays) -> Path:
    """Write a checkpoint as torchvision does: numbered layers, OIHW, a classifier at the end."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    state, place = {}, 0
    for name, array in arrays.items():
        if name.endswith("kernel"):
            kernel = np.ascontiguousarray(array.transpose(3, 2, 0, 1))
            state[f"features.{place}.weight"] = torch.from_numpy(kernel)
        else:
            state[f"features.{place}.bias"] = torch.from_numpy(array)
            place += 2
    state["classifier.0.weight"] = torch.zeros(2, 2)
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def learnt() -> dict[str, np.ndarray]:
    """Return arrays of VGG16's shapes."""
    return initial_weights(VGG16, seed=3)


@pytest.fixture(scope="module")
def keras_published(tmp_path_factory, learnt) -> Path:
    """Write the file that Keras publishes, with other numbers in it."""
    return keras_file(tmp_path_factory.mktemp("published") / KERAS_FILE, learnt)


def homes_of(**files: tuple[bytes, str]) -> dict[str, RemoteResource]:
    """Return the homes of VGG16's releases, by release: content and address."""
    names = {"imagenet": KERAS_FILE, "imagenet_torchvision": TORCH_FILE}
    return {
        weights_home("vgg16", release): RemoteResource(
            files=(remote(names[release], body, url),), remark="made by a test"
        )
        for release, (body, url) in files.items()
    }


def find(tmp_path, homes, *, releases=RELEASES, is_offline=False, **options) -> Pretrained:
    """Find VGG16 with a cache of its own and no fallback."""
    fetcher = Fetcher(
        folder=tmp_path / "downloads", homes=homes, is_offline=is_offline, timeouts=PATIENT
    )
    given = {"path": None, "environment": {}, "fallback": None}
    return find_pretrained("vgg16", releases, **{**given, **options}, fetcher=fetcher)


def test_keras_cache_gives_the_release_imagenet_with_its_preprocessing(
    tmp_path, keras_published, learnt
):
    """Converted to safetensors that say where they are from; found again without the cache."""
    home = tmp_path / "keras"
    (home / "models").mkdir(parents=True)
    (home / "models" / KERAS_FILE).write_bytes(keras_published.read_bytes())
    homes = homes_of(imagenet=(keras_published.read_bytes(), "http://127.0.0.1:9/x"))

    found = find(tmp_path, homes, environment={"KERAS_HOME": str(home)}, is_offline=True)
    again = find(tmp_path, homes, is_offline=True)

    assert (found.release, found.preprocessing) == ("imagenet", "caffe_bgr")
    assert found.origin == f"{KERAS_FILE} in {home / 'models'}"
    assert again == found
    assert Pretrained.from_dict(found.as_dict()) == found
    read_back = read_pretrained(found, VGG16)
    assert all(np.array_equal(read_back[name], array) for name, array in learnt.items())
    with safe_open(str(found.path), framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["release"] == "imagenet"
    assert metadata["preprocessing"] == "caffe_bgr"
    assert metadata["source_sha256"] == homes["vgg16_imagenet"].files[0].sha256
    assert list(damages(found.path.parent)) == []


@pytest.mark.parametrize("release", ["imagenet", "imagenet_torchvision"])
def test_a_file_of_one_release_is_never_offered_as_another(tmp_path, keras_published, release):
    """Keras's bytes in torch hub's cache under torchvision's name, and the other way round."""
    body = keras_published.read_bytes()
    other = bytes(reversed(body))
    caches = {"KERAS_HOME": str(tmp_path / "keras"), "TORCH_HOME": str(tmp_path / "torch")}
    homes = homes_of(imagenet=(body, "http://x/1"), imagenet_torchvision=(other, "http://x/2"))
    wrong = {"imagenet": other, "imagenet_torchvision": body}[release]
    for folder in (tmp_path / "keras/models", tmp_path / "torch/hub/checkpoints"):
        folder.mkdir(parents=True)
        for name in (KERAS_FILE, TORCH_FILE):
            (folder / name).write_bytes(wrong)
    only = {release: RELEASES[release]}

    with pytest.raises(WeightsError, match="offline mode"):
        find(tmp_path, homes, releases=only, environment=caches, is_offline=True)

    assert not list((tmp_path / "downloads").glob("vgg16*"))


def test_a_damaged_file_in_a_cache_is_passed_over(tmp_path, server, keras_published):
    """Only the published bytes count; the download gives them."""
    body = keras_published.read_bytes()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / KERAS_FILE).write_bytes(body[:-1] + b"?")
    homes = homes_of(imagenet=(body, server.put("vgg", body)))

    found = find(tmp_path, homes, environment={"KERAS_HOME": str(tmp_path)})

    assert found.origin == f"{KERAS_FILE}, downloaded from 127.0.0.1"
    assert [path for path, _ in server.asked] == ["vgg"]


def test_a_download_is_converted_and_only_the_converted_file_kept(
    tmp_path, server, keras_published, learnt
):
    """One folder remains, with the canonical file and its manifest."""
    body = keras_published.read_bytes()

    found = find(tmp_path, homes_of(imagenet=(body, server.put("vgg", body))))

    shown = [p.name for p in (tmp_path / "downloads").iterdir() if not p.name.startswith(".")]
    assert shown == ["vgg16_notop_imagenet"]
    assert found.path == tmp_path / "downloads/vgg16_notop_imagenet" / RELEASES["imagenet"].file
    array = read_pretrained(found, VGG16)["block5_conv3/kernel"]
    np.testing.assert_array_equal(array, learnt["block5_conv3/kernel"])


def test_damaged_converted_weights_are_converted_again(tmp_path, server, keras_published):
    """They are not believed for their name; without a network the damage is the reason."""
    body = keras_published.read_bytes()
    homes = homes_of(imagenet=(body, server.put("vgg", body)))
    first = find(tmp_path, homes)
    content = bytearray(first.path.read_bytes())
    content[-1] ^= 1
    first.path.write_bytes(content)

    with pytest.raises(WeightsError, match=r"expected SHA-256 .*, found .*; offline mode"):
        find(tmp_path, homes, is_offline=True)
    again = find(tmp_path, homes)

    assert again == first


def test_a_named_file_is_used_as_published_or_refused(tmp_path, keras_published):
    """BENCHHARNESS_WEIGHTS may name Keras's own file, or the folder that holds it."""
    homes = homes_of(imagenet=(keras_published.read_bytes(), "http://x/1"))
    places = (keras_published, keras_published.parent)
    found = [
        find(tmp_path, homes, environment={"BENCHHARNESS_WEIGHTS": str(place)}) for place in places
    ]
    stranger = keras_file(tmp_path / "mine.h5", initial_weights(SMALL, seed=1))

    assert found[0] == found[1]
    assert found[0].release == "imagenet"
    with pytest.raises(WeightsError, match=r"mine.h5: expected a safetensors file, or vgg16"):
        find(tmp_path, homes, path=stranger)


def test_without_a_network_the_fallback_says_so_once(tmp_path):
    """Both releases are out of reach; the second is not tried."""
    body = random.Random(1).randbytes(99)
    homes = homes_of(
        imagenet=(body, "http://127.0.0.1:9/1"), imagenet_torchvision=(body, "http://127.0.0.1:9/2")
    )

    found = find(tmp_path, homes, fallback="random")

    assert found.is_random
    assert "(not downloaded: no network); set BENCHHARNESS_WEIGHTS" in found.reason


def test_what_is_no_weights_file_is_named_and_leaves_nothing(tmp_path, server):
    """The published bytes turn out to be something else."""
    body = b"not HDF5 at all" * 9

    with pytest.raises(WeightsError, match=f"{KERAS_FILE}: expected a weights file of Keras"):
        find(tmp_path, homes_of(imagenet=(body, server.put("vgg", body))))

    assert not (tmp_path / "downloads/vgg16_notop_imagenet").exists()


def test_a_checkpoint_without_a_plugin_that_reads_it_is_not_even_downloaded(
    tmp_path, server, monkeypatch
):
    """Half a gigabyte for nothing; the remedy is named."""
    monkeypatch.setattr("benchharness.weights.pretrained.weight_readers", dict)
    body = random.Random(1).randbytes(99)
    homes = homes_of(imagenet_torchvision=(body, server.put("pth", body)))

    with pytest.raises(WeightsError, match="pip install -e plugins/benchharness-torch"):
        find(tmp_path, homes)

    assert server.asked == []


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.zeros((3, 3, 4, 6), np.float32), r"block1_conv2/kernel: expected shape \(3, 3, 4, 5\)"),
        (None, "block1_conv2"),
    ],
)
def test_a_weights_file_of_another_network_is_refused(tmp_path, kernel, message):
    """The array, its shape and the expected one are named; half a network is not a network."""
    arrays = {n: a for n, a in initial_weights(SMALL, seed=1).items() if "conv1" in n}
    if kernel is not None:
        arrays |= {"block1_conv2/kernel": kernel, "block1_conv2/bias": np.zeros(6, np.float32)}

    with pytest.raises(WeightsError, match=message):
        read(keras_file(tmp_path / "w.h5", arrays), SMALL)


def test_a_worker_that_fails_gives_one_line(tmp_path):
    """No traceback for what a user can mend."""
    arguments = {
        "file": str(tmp_path / "no.h5"),
        "backbone": "vgg16",
        "out": str(tmp_path / "out"),
        "metadata": {},
    }

    *_, finished = run_in_worker(WorkerRequest(job="convert-weights", arguments=arguments))

    assert finished["status"] == "failed"
    assert "\n" not in finished["reason"]
    assert "no.h5: expected a weights file of Keras" in finished["reason"]


def test_every_release_with_a_home_is_a_release_of_a_backbone():
    """A misspelt key would be a home that nobody looks for."""
    known = {
        weights_home(name, r) for name, backbone in BACKBONES.items() for r in backbone.releases
    }

    assert {name for name in REGISTRY if name.startswith("vgg")} <= known


@pytest.mark.full
def test_torch_hub_cache_gives_torchvisions_release_with_its_preprocessing(tmp_path, learnt):
    """Read by the plugin in a process of its own: numbered layers, OIHW to HWIO."""
    cache = tmp_path / "torch/hub/checkpoints"
    body = torchvision_file(cache / TORCH_FILE, learnt).read_bytes()

    found = find(
        tmp_path,
        homes_of(imagenet_torchvision=(body, "http://x/1")),
        environment={"TORCH_HOME": str(tmp_path / "torch")},
        is_offline=True,
    )

    assert (found.release, found.preprocessing) == ("imagenet_torchvision", "imagenet_rgb")
    read_back = read_pretrained(found, VGG16)
    assert all(np.array_equal(read_back[name], array) for name, array in learnt.items())


@pytest.mark.full
def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    """Another number of convolutions."""
    from benchharness_torch.network import read_checkpoint

    from benchharness.errors import PluginError

    file = torchvision_file(tmp_path / "w.pth", initial_weights(SMALL, seed=1))

    assert set(read_checkpoint(file, SMALL)) == set(SMALL.parameters())
    with pytest.raises(PluginError, match="expected 13 convolutions"):
        read_checkpoint(file, VGG16)


class _Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


@pytest.mark.full
def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    """Not even in the child process."""
    from benchharness_torch.network import read_checkpoint

    from benchharness.errors import PluginError

    trap = tmp_path / "sprung"
    (tmp_path / "w.pth").write_bytes(pickle.dumps(_Trap(f"touch {trap}"), protocol=2))

    with pytest.raises(PluginError, match="expected a checkpoint of arrays"):
        read_checkpoint(tmp_path / "w.pth", SMALL)
    assert not trap.exists()

"""Datasets by themselves: archives, caches, downloads, and what is said without a network."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from photographs import picture, prepared_of, save
from suite_files import suite_file
from web_server import remote

from benchharness.data.cats_dogs import cats_dogs, holds
from benchharness.data.sources import find
from benchharness.download.fetcher import Fetcher
from benchharness.download.registry import REGISTRY, RemoteResource
from benchharness.download.transfer import Timeouts
from benchharness.errors import DatasetError, WeightsError
from benchharness.run.events import Announced, Downloading
from benchharness.run.inputs import (
    SearchPaths,
    find_listing,
    find_weights,
    has_real_weights,
    open_fetcher,
    report_downloads,
)
from benchharness.run.options import RunOptions
from benchharness.run.session import open_session
from benchharness.suite.load import load
from benchharness.suite.resolve import resolve

PATIENT = Timeouts(connect_s=30.0, answer_s=60.0, read_s=60.0, tries=3)
SUITE = """
name = "pets"
trials = 1
backends = ["numpy"]
weights_fallback = "random"

[dataset]
source = "cats_dogs"
fallback = "drawn"

[defaults]
image_size = 32
train_images = 6
test_images = 4

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"

[[benchmark]]
name = "bottleneck"
strategy = "bottleneck"
"""


def pet_images(count: int = 7) -> bytes:
    """Return an archive like Microsoft's: numbered photographs, two of them empty, and a readme."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("readme[1].txt", "terms")
        for label, name in enumerate(("Cat", "Dog")):
            archive.writestr(f"PetImages/{name}/Thumbs.db", b"junk")
            for number in range(count):
                file = io.BytesIO()
                picture(seed=100 * label + number).save(file, "JPEG")
                archive.writestr(f"PetImages/{name}/{number}.jpg", file.getvalue())
        archive.writestr("PetImages/Cat/666.jpg", b"")
    return content.getvalue()


def homes_of(body: bytes, *urls: str) -> dict[str, RemoteResource]:
    """Return the home of cats and dogs, with another archive of the same shape."""
    real = REGISTRY["cats_dogs"]
    file = remote("pets.zip", body, *urls)
    return {
        "cats_dogs": RemoteResource(files=(file,), unpacking=real.unpacking, remark=real.remark)
    }


def fetcher_of(tmp_path: Path, homes, **options) -> Fetcher:
    """Return a fetcher that gives up soon."""
    return Fetcher(folder=tmp_path / "cache/downloads", homes=homes, timeouts=PATIENT, **options)


def look(tmp_path: Path, name: str = "cats_dogs", **options):
    """Find a source with everything else at rest."""
    given = {
        "path": None, "environment": {}, "cache_dir": tmp_path / "cache", "train_images": 6,
        "test_images": 4, "seed": 0, "fallback": None,
    }  # fmt: skip
    return find(name, **{**given, **options})


def unpacked(folder: Path) -> Path:
    """Unpack the archive like a user would."""
    with zipfile.ZipFile(io.BytesIO(pet_images())) as archive:
        archive.extractall(folder)
    return folder


def test_cats_and_dogs_are_downloaded_listed_and_prepared(server, tmp_path):
    """The whole chain, over a connection that breaks off: photographs to pixels."""
    body = pet_images()
    url = server.put("pets", body, breaks_after=[len(body) // 3])

    listing = look(tmp_path, fetcher=fetcher_of(tmp_path, homes_of(body, url)))
    prepared = prepared_of(listing, tmp_path / "cache", train_images=6, test_images=4)

    assert (listing.name, listing.classes, listing.is_real) == ("cats_dogs", ("cats", "dogs"), True)
    assert listing.origin.endswith(", downloaded: pets.zip from 127.0.0.1")
    assert listing.place == tmp_path / "cache/downloads/cats_dogs/PetImages"
    assert prepared.images.shape == (10, 16, 16, 3)
    assert len(server.asked) == 2
    names = [Path(listing.train.name(i)).name for i in range(3)]
    assert names == ["0.jpg", "1.jpg", "2.jpg"]


def test_downloads_of_an_earlier_session_are_used_without_a_network(server, tmp_path):
    """And they are the same dataset, digest for digest."""
    body = pet_images()
    homes = homes_of(body, server.put("pets", body))
    first = look(tmp_path, fetcher=fetcher_of(tmp_path, homes))

    again = look(tmp_path, fetcher=fetcher_of(tmp_path, homes, is_offline=True))

    assert again.origin == first.origin
    assert [again.train.digest(i) for i in range(6)] == [first.train.digest(i) for i in range(6)]


def spoil(tmp_path: Path) -> Path:
    """Turn a bit of a photograph that was downloaded, and return its file."""
    file = tmp_path / "cache/downloads/cats_dogs/PetImages/Cat/0.jpg"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    return file


def test_a_damaged_download_is_fetched_again_with_a_warning(server, tmp_path):
    """The archive is fetched once more, and the photographs are what they were."""
    body, said = pet_images(), []
    homes = homes_of(body, server.put("pets", body))
    first = look(tmp_path, fetcher=fetcher_of(tmp_path, homes))
    digests = [first.train.digest(i) for i in range(6)]
    file = spoil(tmp_path)

    again = look(tmp_path, fetcher=fetcher_of(tmp_path, homes, announce=said.append))

    assert [again.train.digest(i) for i in range(6)] == digests
    assert said[0].startswith(f"WARNING: damaged in the cache, to be fetched again: {file}: ")
    assert len(server.asked) == 2


def test_nothing_takes_the_place_of_damaged_photographs(server, tmp_path):
    """Without a network they are named, and none are drawn instead, whatever the suite says."""
    homes = homes_of(pet_images(), server.put("pets", pet_images()))
    look(tmp_path, fetcher=fetcher_of(tmp_path, homes))
    file = spoil(tmp_path)

    with pytest.raises(DatasetError, match=r"not downloaded again: offline.*or delete") as caught:
        look(tmp_path, fetcher=fetcher_of(tmp_path, homes, is_offline=True), fallback="drawn")

    assert str(file) in str(caught.value)


def test_what_is_on_this_machine_goes_before_a_download(server, tmp_path):
    """The environment first, then Keras's folder."""
    fetcher = fetcher_of(tmp_path, homes_of(pet_images(), server.put("pets", pet_images())))
    mine = unpacked(tmp_path / "mine")
    keras = tmp_path / "home/.keras/datasets"
    for split in ("train", "validation"):
        for name in ("cats", "dogs"):
            for number in range(4):
                file = f"cats_and_dogs_filtered/{split}/{name}/{number}.jpg"
                save(keras / file, seed=number)
    home = {"HOME": str(tmp_path / "home")}

    named = look(tmp_path, fetcher=fetcher, environment=home | {"BENCHHARNESS_DATA": str(mine)})
    cached = look(tmp_path, fetcher=fetcher, environment=home)

    assert named.place == mine / "PetImages"
    assert cached.place == keras / "cats_and_dogs_filtered"
    assert (len(cached.train), len(cached.test)) == (8, 8)
    assert server.asked == []


@pytest.mark.parametrize(
    "below", [".", "cats_and_dogs_extracted", "cats_and_dogs_filtered_extracted"]
)
def test_folders_of_the_public_archives_are_recognised(tmp_path, below):
    """Named themselves, or from above."""
    folder = tmp_path / below / "cats_and_dogs_filtered"
    for split in ("train", "validation"):
        for name in ("cats", "dogs"):
            save(folder / split / name / "0.jpg", seed=1)

    assert holds(tmp_path)
    assert holds(folder)


def test_numbers_tell_which_photographs_of_microsofts_are_for_training(tmp_path):
    """In each class the first are for training, the next for the test; empty files are none."""
    listing = cats_dogs(unpacked(tmp_path), train=6, test=4)

    assert [Path(listing.train.name(i)).name for i in range(3)] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [Path(listing.test.name(i)).name for i in range(2)] == ["3.jpg", "4.jpg"]
    assert listing.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    everything = cats_dogs(tmp_path / "PetImages")
    assert len(everything.train) + len(everything.test) == 14


def test_offline_the_message_names_home_and_remedy(tmp_path):
    """No fallback: an error of one line."""
    fetcher = fetcher_of(tmp_path, REGISTRY, is_offline=True)

    with pytest.raises(DatasetError, match=r"not downloaded: offline mode\).*--data DIR") as caught:
        look(tmp_path, fetcher=fetcher)

    assert "\n" not in str(caught.value)


def test_the_fallback_says_why_nothing_was_downloaded(tmp_path, monkeypatch):
    """A server that has moved is told from a missing network."""
    monkeypatch.setattr(
        "benchharness.data.drawn.synthetic_images",
        lambda **_: cats_dogs(unpacked(tmp_path / "drawn")),
    )
    homes = homes_of(b"x" * 99, "http://127.0.0.1:9/pets")

    listing = look(tmp_path, fetcher=fetcher_of(tmp_path, homes), fallback="drawn")

    assert "in place of cats_dogs, not found (looked in no folder" in listing.origin
    assert listing.origin.endswith("not downloaded: no network)")


def test_sources_without_a_public_home_are_never_fetched(tmp_path):
    """Folders of one's own are nobody else's business."""
    with pytest.raises(DatasetError, match="found nothing") as caught:
        look(tmp_path, "folder", fetcher=fetcher_of(tmp_path, REGISTRY))

    assert "downloaded" not in str(caught.value)


def test_fashion_mnist_is_downloaded_from_the_first_mirror_that_has_it(
    server, tmp_path, monkeypatch
):
    """Four files, used as they are."""
    # This machine may have Debian's package, which would go first.
    monkeypatch.setattr("benchharness.data.fashion_mnist._SHARED", ())
    bodies = {}
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        images = struct.pack(">4I", 0x803, count, 28, 28) + bytes(count * 784)
        labels = struct.pack(">2I", 0x801, count) + bytes(count)
        bodies[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(images, 1)
        bodies[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(labels, 1)
    files = tuple(
        remote(name, body, server.put(f"gone/{name}", status=404), server.put(name, body))
        for name, body in bodies.items()
    )
    homes = {"fashion_mnist": RemoteResource(files=files, remark="")}

    listing = look(tmp_path, "fashion_mnist", fetcher=fetcher_of(tmp_path, homes))

    assert "downloaded: 4 files from 127.0.0.1" in listing.origin
    assert (len(listing.train), len(listing.test)) == (60_000, 10_000)
    assert len(server.asked) == 8


def test_torchvisions_folder_of_fashion_mnist_is_recognised(tmp_path):
    """FashionMNIST/raw, as its root argument makes it."""
    from test_data_fashion_mnist import write

    from benchharness.data.fashion_mnist import FashionMnist

    write(tmp_path / "FashionMNIST/raw")

    assert FashionMnist().holds(tmp_path)


def places(tmp_path: Path, fetcher: Fetcher | None = None, **variables: str) -> SearchPaths:
    """Return places with nothing in them but what is given."""
    return SearchPaths(environment=variables, cache=tmp_path / "cache", fetcher=fetcher)


def test_data_are_available_where_weights_are_not(server, tmp_path):
    """The photographs are downloaded; of the weights the file is named that is missing."""
    body = pet_images()
    fetcher = fetcher_of(tmp_path, homes_of(body, server.put("pets", body)))
    plan = resolve(load(suite_file(tmp_path, SUITE)), profile=None)
    settings = next(cell.settings for cell in plan.cells if cell.benchmark == "bottleneck")

    listing = find_listing(plan, places=places(tmp_path, fetcher), fallback=None)

    assert listing.is_real
    with pytest.raises(WeightsError, match=r"no vgg16_notop_imagenet\.safetensors was found"):
        find_weights(plan, settings, places=places(tmp_path, fetcher), fallback=None)


def test_only_the_weights_of_what_runs_count(tmp_path):
    """Without the bottleneck no weights are needed."""
    suite = load(suite_file(tmp_path, SUITE))
    cnn = resolve(suite, profile=None, benchmarks=("cnn",))

    assert has_real_weights(cnn, places=places(tmp_path))
    assert not has_real_weights(resolve(suite, profile=None), places=places(tmp_path))


def test_the_offline_profile_is_chosen_where_no_weights_can_be_had(tmp_path):
    """By the session itself, unless another is asked for."""
    suite = suite_file(tmp_path, SUITE + '\n[profiles.offline]\n[profiles.cpu]\ndevice = "cpu"\n')
    options = {"environment": {"BENCHHARNESS_OFFLINE": "1"}, "cache": tmp_path / "cache"}

    chosen = open_session(RunOptions(suite=suite, device="cpu"), **options)
    asked = open_session(RunOptions(suite=suite, device="cpu", profile="cpu"), **options)

    assert chosen.plan.profile == "offline"
    assert asked.plan.profile == "cpu"


@pytest.mark.parametrize(
    ("value", "asked", "expected"),
    [("", False, False), ("0", False, False), ("1", False, True), ("", True, True)],
)
def test_the_network_is_forbidden_by_option_or_environment(tmp_path, value, asked, expected):
    """BENCHHARNESS_OFFLINE=0 forbids nothing."""
    fetcher = open_fetcher(tmp_path, environment={"BENCHHARNESS_OFFLINE": value}, is_offline=asked)

    assert fetcher.is_offline is expected


def test_an_observer_is_notified_of_downloads(server, tmp_path):
    """A line as it begins, then bytes."""
    body = pet_images()
    fetcher, events = fetcher_of(tmp_path, homes_of(body, server.put("pets", body))), []
    report_downloads(fetcher, events.append)

    fetcher.fetch("cats_dogs")

    assert isinstance(events[0], Announced)
    assert events[0].text.startswith("fetching cats_dogs: pets.zip from 127.0.0.1")
    whole = Downloading(what="pets.zip", done_bytes=len(body), count_bytes=len(body))
    assert whole in events
    assert events[-1].what == "unpacking pets.zip"


def test_a_preview_tells_what_would_be_downloaded_and_downloads_nothing(server, tmp_path):
    """The counts are those of the public archive."""
    session = open_session(
        RunOptions(suite=suite_file(tmp_path, SUITE), device="cpu"),
        environment={},
        cache=tmp_path / "cache",
    )

    facts = session.dataset_info()

    assert facts.origin.startswith("to be downloaded: kagglecatsanddogs_5340.zip from download.")
    assert sum(facts.sizes) == 24_998
    assert not (tmp_path / "cache").exists()
    np.testing.assert_array_equal(facts.train, (8_928, 8_928))


@pytest.mark.parametrize("offline", [False, True])
def test_a_request_decides_whether_its_session_may_download(tmp_path, offline):
    """The option of the command line reaches what fetches."""
    session = open_session(
        RunOptions(suite=suite_file(tmp_path, SUITE), device="cpu", offline=offline),
        environment={},
        cache=tmp_path / "cache",
    )

    assert session.places.fetcher.is_offline is offline
    assert session.places.fetcher.folder == tmp_path / "cache/downloads"

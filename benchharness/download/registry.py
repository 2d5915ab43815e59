"""Registry of published photographs and weights: addresses, sizes, digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One published file: its publisher's name for it, and addresses, the preferred first."""

    name: str
    urls: tuple[str, ...]
    size_bytes: int
    sha256: str

    @property
    def hosts(self) -> str:
        """The hosts that have it, for a message."""
        return ", ".join(dict.fromkeys(urlsplit(url).hostname or url for url in self.urls))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """Selection of files in an archive: a pattern of whole paths, and limits of files and bytes."""

    wanted: str
    most_files: int
    most_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteResource:
    """What belongs together and is fetched together.

    Attributes:
        files: One archive, or the files themselves.
        unpacking: What to take out of the archive; None for files that are used as they are.
        remark: Who publishes it, and on what terms.
    """

    files: tuple[RemoteFile, ...]
    unpacking: ArchiveLimits | None = None
    remark: str

    @property
    def size_bytes(self) -> int:
        """Bytes to fetch."""
        return sum(file.size_bytes for file in self.files)

    @property
    def needed_bytes(self) -> int:
        """Bytes that the disk must hold while it is fetched and unpacked."""
        return self.size_bytes + (self.unpacking.most_bytes if self.unpacking else 0)

    @property
    def source(self) -> str:
        """What it is and who publishes it, for a message."""
        files = self.files[0].name if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{files} from {self.publisher}"

    @property
    def publisher(self) -> str:
        """The host that has it, for a message."""
        return urlsplit(self.files[0].urls[0]).hostname or "nowhere"


def weights_home(backbone: str, release: str) -> str:
    """Return the name under which the weights of a backbone are in ``REGISTRY``, if they are."""
    return f"{backbone}_{release}"


_KERAS = "https://storage.googleapis.com/tensorflow"
# Source of the mirrors: Keras 3.15, datasets/fashion_mnist.py; the dataset's own repository;
# torchvision 0.29, datasets/mnist.py.
_FASHION_MNIST_URLS = (
    f"{_KERAS}/tf-keras-datasets/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
# Source of sizes and digests: TensorFlow Datasets, url_checksums/fashion_mnist.txt.
_FASHION_MNIST_FILES = (
    ("train-images-idx3-ubyte.gz", 26_421_880,
     "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    ("train-labels-idx1-ubyte.gz", 29_515,
     "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ("t10k-images-idx3-ubyte.gz", 4_422_102,
     "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    ("t10k-labels-idx1-ubyte.gz", 5_148,
     "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)  # fmt: skip
_VGG16_NOTOP = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


REGISTRY: Mapping[str, RemoteResource] = {
    "cats_dogs": RemoteResource(
        # Source of size and digest: Hugging Face datasets, datasets/cats_vs_dogs/
        # dataset_infos.json; the same digest in GoMLX, examples/dogsvscats.
        files=(
            RemoteFile(
                name="kagglecatsanddogs_5340.zip",
                urls=(
                    "https://download.microsoft.com/download/3/E/1/"
                    "3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
                ),
                size_bytes=824_887_076,
                sha256="b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
            ),
        ),
        unpacking=ArchiveLimits(
            wanted=r"PetImages/(Cat|Dog)/[0-9]+\.jpg", most_files=25_000, most_bytes=1_000_000_000
        ),
        remark="25,000 photographs of the Asirra project, Petfinder.com and Microsoft Research, "
        "on the terms of microsoft.com/download/details.aspx?id=54765",
    ),
    "fashion_mnist": RemoteResource(
        files=tuple(
            RemoteFile(
                name=name,
                urls=tuple(base + name for base in _FASHION_MNIST_URLS),
                size_bytes=size_bytes,
                sha256=sha256,
            )
            for name, size_bytes, sha256 in _FASHION_MNIST_FILES
        ),
        remark="Zalando Research, MIT licence",
    ),
    weights_home("vgg16", "imagenet"): RemoteResource(
        # Source of the address: Keras 3.15, applications/vgg16.py, which states the MD5
        # 6d6bbae143d832006294945121d1f1fc; of the mirror and the SHA-256: the D3M primitive
        # "DSBox Image Featurizer VGG16"; of the size: what Keras prints while it downloads.
        files=(
            RemoteFile(
                name=_VGG16_NOTOP,
                urls=(
                    f"{_KERAS}/keras-applications/vgg16/{_VGG16_NOTOP}",
                    "https://github.com/fchollet/deep-learning-models/releases/download/v0.1/"
                    + _VGG16_NOTOP,
                ),
                size_bytes=58_889_256,
                sha256="bfe5187d0a272bed55ba430631598124cff8e880b98d38c9e56c8d66032abdc1",
            ),
        ),
        remark="VGG16 of the Visual Geometry Group, Oxford, converted by Keras, CC BY 4.0",
    ),
    weights_home("vgg16", "imagenet_torchvision"): RemoteResource(
        # Source of the address and the digest's first eight digits: torchvision 0.29,
        # models/vgg.py; of the whole digest: the D3M primitive "ConvolutionalNeuralNetwork" of
        # UBC; of the size: what torchvision prints while it downloads.
        files=(
            RemoteFile(
                name="vgg16-397923af.pth",
                urls=("https://download.pytorch.org/models/vgg16-397923af.pth",),
                size_bytes=553_433_881,
                sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            ),
        ),
        remark="VGG16 trained by torchvision on ImageNet, BSD 3-clause",
    ),
}

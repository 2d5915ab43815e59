"""Teach `vgg_mini` what drawn animals and objects look like, and write its embedded weights.

    python tools/pretrain_vgg_mini.py

The kinds are those of the package zoo beside it: neither cats nor dogs are among them. The
network learns with batch normalisation, which is folded into kernels and biases at the end,
because the networks of the suites have none. Half precision keeps the file small; the accuracy
in its metadata is that of the folded network in half precision. It takes about a quarter of an
hour on one core.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional
from zoo import KINDS, draw_kind

from benchharness.data.images import read_image
from benchharness.data.preprocessing import fit
from benchharness.model.backbones import BACKBONES
from benchharness.model.host import preprocess_on_host
from benchharness.model.network import Conv, MaxPool
from benchharness.weights import pretrained

BACKBONE = BACKBONES["vgg_mini"]
RELEASE = BACKBONE.releases["drawn"]
# Fixed constants: no image is looked at to find them.
NOTHING = np.empty(0, np.int64)
PREPROCESSING = fit(RELEASE.preprocessing, images=np.empty((0, 1, 1, 3), np.uint8), ids=NOTHING)
OUTPUT = Path(pretrained.__file__).parent / "embedded" / RELEASE.file
# One thread adds up in one order, and loses nothing to a neighbour on the same cores.
THREADS = 1
# Pictures are kept a little larger than they are learnt, to crop them anew in each epoch.
MARGIN = 1.125


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to learn.

    Attributes:
        train, test: Pictures, of all kinds together.
        sizes: Side in pixels of each epoch's pictures: small ones first, because they are quick.
    """

    train: int
    test: int
    sizes: tuple[int, ...]
    batch_size: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.05

    @property
    def size(self) -> int:
        """Side in pixels of the test pictures."""
        return max(self.sizes)


FULL = Plan(train=10_800, test=1_800, sizes=(48,) * 6 + (64,) * 3)
SMOKE = Plan(train=60, test=30, sizes=(32,), batch_size=20)


class Blocks(nn.Module):
    """The backbone with a batch normalisation after each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleDict()
        channels = 3
        for layer in BACKBONE.layers:
            if isinstance(layer, Conv):
                self.stages[layer.name] = nn.Sequential(
                    nn.Conv2d(channels, layer.filters, layer.kernel, padding="same", bias=False),
                    nn.BatchNorm2d(layer.filters),
                    nn.ReLU(inplace=True),
                )
                channels = layer.filters
            elif isinstance(layer, MaxPool):
                self.stages[layer.name] = nn.MaxPool2d(layer.size)
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return feature maps, (batch, channels, height, width)."""
        for stage in self.stages.values():
            images = stage(images)
        return images


def main() -> None:
    """Draw, learn, fold and write."""
    args = _arguments()
    plan = SMOKE if args.smoke else FULL
    torch.set_num_threads(THREADS)
    torch.manual_seed(args.seed)
    train = draw_pictures(plan.train, size=round(plan.size * MARGIN), seed=[args.seed, 0])
    test = draw_pictures(plan.test, size=plan.size, seed=[args.seed, 1])
    blocks = Blocks().to(memory_format=torch.channels_last)
    head = nn.Linear(blocks.channels, len(KINDS))
    learn(blocks, head, train, test, plan)
    arrays = {name: array.astype(np.float16) for name, array in fold(blocks).items()}
    accuracy = top1(partial(folded_features, arrays), head, test)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(save(arrays, describe(plan, seed=args.seed, accuracy=accuracy)))
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, upstream top-1 {accuracy:.4f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUTPUT, help="safetensors file to write")
    parser.add_argument("--seed", type=int, default=7, help="decides pictures, weights and order")
    parser.add_argument("--smoke", action="store_true", help="few pictures: to see that it works")
    return parser.parse_args()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Pictures and the numbers of their kinds.

    Attributes:
        pixels: uint8, shape (pictures, size, size, 3).
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def draw_pictures(count: int, *, size: int, seed: list[int]) -> Pictures:
    """Return pictures of all kinds in turn, saved as JPEGs and decoded as any data set is."""
    labels = np.arange(count) % len(KINDS)
    pixels = np.empty((count, size, size, 3), np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.jpg"
        for index, label in enumerate(labels):
            rng = np.random.default_rng([*seed, index])
            picture = draw_kind(tuple(KINDS)[label], rng)
            picture.save(path, quality=int(rng.integers(60, 96)))
            pixels[index] = read_image(path, size=size, channels=3).pixels
    return Pictures(pixels=pixels, labels=labels)


def learn(blocks: Blocks, head: nn.Linear, train: Pictures, test: Pictures, plan: Plan) -> None:
    """Train with a rate that rises briefly and falls along a cosine."""
    parameters = [*blocks.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, plan.lr, weight_decay=plan.weight_decay)
    steps = len(plan.sizes) * math.ceil(len(train.labels) / plan.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, steps=steps))
    for epoch, size in enumerate(plan.sizes, start=1):
        start, losses = time.perf_counter(), []
        blocks.train()
        for images, labels in _batches(train, plan.batch_size):
            features = blocks(_vary(images, size=size, crop=plan.size))
            loss = functional.cross_entropy(head(features.mean((2, 3))), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        seconds = time.perf_counter() - start
        accuracy = top1(blocks.eval(), head, test)
        print(
            f"epoch {epoch}/{len(plan.sizes)} at {size} px: loss {np.mean(losses):.3f}, "
            f"test top-1 {accuracy:.3f}, {seconds:.0f} s",
            flush=True,
        )


def _rate(step: int, *, steps: int) -> float:
    """Return the share of the learning rate: a tenth of the steps up, then a cosine down."""
    rise = max(1, steps // 10)
    return min((step + 1) / rise, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def _batches(pictures: Pictures, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for chosen in torch.randperm(len(pictures.labels)).split(batch_size):
        yield as_inputs(pictures.pixels[chosen]), torch.from_numpy(pictures.labels[chosen])


def as_inputs(pixels: NDArray[np.uint8]) -> Tensor:
    """Return what a backend would get from these pixels, (batch, 3, height, width)."""
    images = preprocess_on_host(pixels.astype(np.float32), PREPROCESSING)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _vary(images: Tensor, *, size: int, crop: int) -> Tensor:
    """Return the images cropped somewhere, half of them flipped, in another light."""
    down, right = (int(torch.randint(images.shape[2] - crop + 1, ())) for _ in range(2))
    images = images[:, :, down : down + crop, right : right + crop]
    if size != crop:
        images = functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    flip = torch.rand(len(images), 1, 1, 1) < 0.5
    images = torch.where(flip, images.flip(3), images)
    gain = 1.0 + 0.15 * torch.randn(len(images), 3, 1, 1)
    return images * gain + 0.15 * torch.randn(len(images), 3, 1, 1)


@torch.no_grad()
def top1(features: nn.Module | partial[Tensor], head: nn.Linear, pictures: Pictures) -> float:
    """Return the share of pictures whose kind is recognised."""
    right = 0
    for start in range(0, len(pictures.labels), 200):
        maps = features(as_inputs(pictures.pixels[start : start + 200]))
        guesses = head(maps.mean((2, 3))).argmax(1).numpy()
        right += int((guesses == pictures.labels[start : start + 200]).sum())
    return right / len(pictures.labels)


def fold(blocks: Blocks) -> dict[str, NDArray[np.float32]]:
    """Return kernels (height, width, in, out) and biases that hold the normalisation as well."""
    arrays = {}
    for name, stage in blocks.stages.items():
        if isinstance(stage, nn.MaxPool2d):
            continue
        convolution, norm = stage[0], stage[1]
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        kernel = convolution.weight * scale.view(-1, 1, 1, 1)
        bias = norm.bias - norm.running_mean * scale
        arrays[f"{name}/kernel"] = np.ascontiguousarray(kernel.detach().permute(2, 3, 1, 0))
        arrays[f"{name}/bias"] = bias.detach().numpy()
    return arrays


def folded_features(arrays: Mapping[str, NDArray[np.floating]], images: Tensor) -> Tensor:
    """Return the feature maps of the network as the suites have it, computed in float32."""
    for layer in BACKBONE.layers:
        if isinstance(layer, Conv):
            kernel, bias = (
                torch.from_numpy(arrays[f"{layer.name}/{part}"].astype(np.float32))
                for part in ("kernel", "bias")
            )
            kernel = kernel.permute(3, 2, 0, 1).contiguous()
            images = functional.conv2d(images, kernel, bias, padding="same").relu()
        elif isinstance(layer, MaxPool):
            images = functional.max_pool2d(images, layer.size)
    return images


def describe(plan: Plan, *, seed: int, accuracy: float) -> dict[str, str]:
    """Return the file's metadata: what it holds and how it came about."""
    return {
        "what": f"vgg_mini, pretrained on {len(KINDS)} kinds of drawn animals and objects",
        "kinds": ", ".join(KINDS),
        "script": "tools/pretrain_vgg_mini.py",
        "seed": str(seed),
        "pictures": f"{plan.train} to learn from, {plan.test} to test",
        "sizes": " ".join(str(size) for size in plan.sizes),
        "upstream_top1": f"{accuracy:.4f}",
        "preprocessing": RELEASE.preprocessing,
        "layout": "kernels (height, width, in, out), RGB; batch normalisation folded in",
        "torch": torch.__version__,
        "license": "MIT, as benchharness",
    }


if __name__ == "__main__":
    main()

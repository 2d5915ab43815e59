"""Ceiling for PyTorch: the work of settings.toml in plain PyTorch, in several idioms.

Imports the standard library, NumPy and PyTorch, nothing of ours. Started by run.py, and by hand:

    python -P tests/benchmarks/ceilings/torch.py --work head_small --data FOLDER --check RESULTS

``-P`` keeps this folder off the import path, where this file would hide the framework.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own idiom)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import mkldnn as mkldnn_utils
from torch.utils.data import DataLoader, Dataset

# A test of the programs has smaller networks.
SETTINGS_FILE = os.environ.get("CEILINGS_SETTINGS") or Path(__file__).with_name("settings.toml")
SETTINGS = tomllib.loads(Path(SETTINGS_FILE).read_text(encoding="utf-8"))
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Idiom:
    """A way to write the same work.

    Attributes:
        layout: Memory order of images and convolution kernels.
        gather: How a batch leaves the images in host memory. ``numpy``: NumPy's indexing;
            ``tensor``: ``index_select`` on a tensor that shares the array's memory; ``loader``:
            a DataLoader of whole batches with ``workers`` processes; ``device``: all images are on
            the device, and gathered there.
        pixels: How channels are scaled. ``rows``: each row of pixels times a row of factors, one
            vectorised inner loop; ``channels``: broadcast over the channel axis.
        grid: ``outer``: sums of a term per column and a term per row; or ``affine_grid``.
        optimizer: ``fused`` or ``foreach``.
        model: ``modules``; ``graph``: compiled by torch.compile, its kernels launched at once;
            ``mkldnn``: modules with kernels packed once for oneDNN, forward only.
    """

    layout: str = "channels_last"
    gather: str = "tensor"
    workers: int = 0
    pixels: str = "rows"
    grid: str = "outer"
    optimizer: str = "fused"
    model: str = "modules"

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of images and kernels."""
        return getattr(
            torch, "channels_last" if self.layout == "channels_last" else "contiguous_format"
        )


IDIOMS: Mapping[str, Mapping[str, Idiom]] = {
    "features": {
        "index_select, fused": Idiom(),
        "NumPy indexing, fused": Idiom(gather="numpy"),
        "index_select, foreach": Idiom(optimizer="foreach"),
        "DataLoader, fused": Idiom(gather="loader"),
    },
    "train": {
        "channels last, rows": Idiom(),
        "channels last, rows, NumPy indexing": Idiom(gather="numpy"),
        "channels last, broadcast": Idiom(pixels="channels"),
        "channels last, affine_grid": Idiom(grid="affine_grid"),
        "channels last, foreach": Idiom(optimizer="foreach"),
        "contiguous": Idiom(layout="contiguous", pixels="channels"),
        "channels last, DataLoader, 2 workers": Idiom(gather="loader", workers=2),
    },
    "train on a GPU": {
        "images on the device": Idiom(gather="device"),
        "images on the device, graph": Idiom(gather="device", model="graph"),
        "images on the device, contiguous": Idiom(
            gather="device", layout="contiguous", pixels="channels"
        ),
        "index_select": Idiom(),
    },
    "feed": {
        "channels last, rows": Idiom(),
        "channels last, rows, NumPy indexing": Idiom(gather="numpy"),
        "channels last, broadcast": Idiom(pixels="channels"),
        "channels last, affine_grid": Idiom(grid="affine_grid"),
        "contiguous": Idiom(layout="contiguous", pixels="channels"),
        "channels last, DataLoader": Idiom(gather="loader"),
        "channels last, DataLoader, 2 workers": Idiom(gather="loader", workers=2),
    },
    "forward": {
        "channels last": Idiom(),
        "channels last, NumPy indexing": Idiom(gather="numpy"),
        "contiguous": Idiom(layout="contiguous", pixels="channels"),
        "oneDNN kernels": Idiom(layout="contiguous", pixels="channels", model="mkldnn"),
    },
}


class Scores(NamedTuple):
    """Means over an epoch's images; NaN where the work has none."""

    loss: float = float("nan")
    accuracy: float = float("nan")


class Batch(NamedTuple):
    """One step's tensors.

    Attributes:
        inputs: uint8 images, shape (batch, height, width, channels), or float32 features.
        labels: float32, shape (batch,), 0 or 1.
        theta: float32, shape (batch, 2, 3), output to input in coordinates from -1 to 1; or None.
        colour: float32, shape (batch, channels), 0-255 scale; or None.
    """

    inputs: Tensor
    labels: Tensor
    theta: Tensor | None = None
    colour: Tensor | None = None


class Epochs:
    """Batches in random order with random augmentation, drawn once per epoch."""

    def __init__(self, work: Mapping[str, Any], idiom: Idiom, folder: Path) -> None:
        self.inputs = np.load(folder / "inputs.npy")
        self.labels = np.load(folder / "labels.npy")
        self._work, self._idiom = work, idiom
        self._generator = np.random.default_rng(0)
        self._device = device_of(work)
        self._tensor = torch.from_numpy(self.inputs)
        if idiom.gather == "device":
            self._tensor = self._tensor.to(self._device)
        self._float_labels = torch.from_numpy(self.labels.astype(np.float32)).to(self._device)
        self._places = SearchPaths()
        self._loader = DataLoader(
            Gathered(self.inputs),
            batch_size=None,
            sampler=self._places,
            num_workers=idiom.workers,
            persistent_workers=idiom.workers > 0,
        )

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self.labels) // self._work["batch"]

    def __call__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        count, size = len(self.labels), self._work["batch"]
        is_learning = self._work["kind"] in ("train", "feed")
        order = self._generator.permutation(count) if is_learning else np.arange(count)
        labels = self._float_labels[torch.from_numpy(order).to(self._device)].split(size)
        inputs = self._gather([order[start : start + size] for start in range(0, count, size)])
        if self._device.type != "cpu" and self._idiom.gather != "device":
            inputs = (images.to(self._device) for images in inputs)
        if not self._work.get("augmented"):
            yield from map(Batch, inputs, labels)
            return
        theta, colour = draw_augmentation(self._generator, images=count)
        theta, colour = theta.to(self._device), colour.to(self._device)
        yield from map(Batch, inputs, labels, theta.split(size), colour.split(size))

    def _gather(self, places: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        match self._idiom.gather:
            case "numpy":
                return (torch.from_numpy(self.inputs[ids]) for ids in places)
            case "loader":
                self._places.batches = places
                return iter(self._loader)
            case "device":
                order = torch.from_numpy(np.concatenate(places)).to(self._device)
                return (self._tensor[ids] for ids in order.split(len(places[0])))
        return (self._tensor.index_select(0, torch.from_numpy(ids)) for ids in places)


class SearchPaths:
    """A sampler whose batches are set before each epoch."""

    batches: Sequence[NDArray[np.int64]] = ()

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Gathered(Dataset[Tensor]):
    """Whole batches of inputs, by their images' places."""

    def __init__(self, inputs: NDArray[Any]) -> None:
        self._tensor = torch.from_numpy(inputs)

    def __getitem__(self, ids: NDArray[np.int64]) -> Tensor:
        return self._tensor.index_select(0, torch.from_numpy(ids))


def device_of(work: Mapping[str, Any]) -> torch.device:
    """Return where a work is done."""
    return torch.device("cuda" if work.get("device") == "gpu" else "cpu")


def draw_augmentation(generator: np.random.Generator, *, images: int) -> tuple[Tensor, Tensor]:
    """Return ``theta`` and ``colour`` of each image: mirror, slant, zoom about the centre."""
    amounts = SETTINGS["augmentation"]
    flip = np.where(generator.random(images) < amounts["flip"], -1.0, 1.0)
    shear = generator.uniform(-amounts["shear"], amounts["shear"], images)
    zoom = generator.uniform(1 - amounts["zoom"], 1 + amounts["zoom"], images)
    theta = np.zeros((images, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1], theta[:, 1, 1] = zoom * flip, zoom * shear, zoom
    shift = amounts["channel_shift"]
    colour = generator.uniform(-shift, shift, (images, 3)).astype(np.float32)
    return torch.from_numpy(theta), torch.from_numpy(colour)


class NetworkInput:
    """Maps a batch to what the first layer sees: float32, augmented and normalised."""

    def __init__(self, work: Mapping[str, Any], idiom: Idiom) -> None:
        self._idiom = idiom
        self._name = work.get("preprocessing")
        if self._name is None:
            return
        constants, device = SETTINGS["preprocessing"][self._name], device_of(work)
        mean, scale = (torch.tensor(constants[key], device=device) for key in ("mean", "scale"))
        height, width, channels = work["input"]
        self._size = height, width, channels
        repeats = width if idiom.pixels == "rows" else 1
        shape = (width * channels,) if idiom.pixels == "rows" else (channels, 1, 1)
        self._scale = scale.repeat(repeats).view(shape)
        self._bias = (-mean * scale).repeat(repeats).view(shape)
        # Centres of columns and rows in coordinates from -1 to 1.
        self._x = (2 * torch.arange(width, device=device) + 1) / width - 1
        self._y = (2 * torch.arange(height, device=device) + 1) / height - 1

    def __call__(self, batch: Batch) -> Tensor:
        """Return images (batch, channels, height, width), or features as they are."""
        if self._name is None:
            return batch.inputs
        images = batch.inputs.permute(0, 3, 1, 2).float()
        if batch.theta is not None:
            images = F.grid_sample(
                images, self._grid(batch.theta), padding_mode="border", align_corners=False
            )
        if self._idiom.pixels == "rows":
            return self._normalise_rows(images, batch.colour)
        return self._normalise_channels(images, batch.colour)

    def _grid(self, theta: Tensor) -> Tensor:
        """Return the source of each pixel, shape (batch, height, width, 2).

        An affine map is the sum of a term per column and a term per row; adding them takes less
        than a tenth of the product of matrices in ``affine_grid``.
        """
        if self._idiom.grid == "affine_grid":
            height, width, channels = self._size
            return F.affine_grid(theta, [len(theta), channels, height, width], align_corners=False)
        columns = theta[:, :, 0, None] * self._x
        rows = theta[:, :, 1, None] * self._y + theta[:, :, 2, None]
        return (columns[:, :, None, :] + rows[:, :, :, None]).permute(0, 2, 3, 1)

    def _normalise_channels(self, images: Tensor, colour: Tensor | None) -> Tensor:
        """Return normalised images; changes its argument."""
        if colour is not None:
            images = images.add_(colour[:, :, None, None]).clamp_(0, 255)
        images = images.mul_(self._scale).add_(self._bias)
        # Images that were resampled are contiguous, whatever they were before.
        return images.contiguous(memory_format=self._idiom.memory_format)

    def _normalise_rows(self, images: Tensor, colour: Tensor | None) -> Tensor:
        """Return normalised images; changes its argument."""
        height, width, channels = self._size
        rows = images.permute(0, 2, 3, 1).reshape(-1, height, width * channels)
        if colour is not None:
            rows = rows.add_(colour.repeat(1, width)[:, None, :]).clamp_(0, 255)
        rows = torch.addcmul(self._bias, rows, self._scale)
        return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)


class FlattenPixels(nn.Module):
    """Flatten in the order of the memory, without a copy."""

    def forward(self, values: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, values); leave features alone."""
        if values.is_mkldnn:
            values = values.to_dense()
        if values.is_contiguous():
            return values.flatten(1)
        return values.permute(0, 2, 3, 1).flatten(1)


def build_network(work: Mapping[str, Any], idiom: Idiom) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the frozen layers and the others."""
    shape = tuple(work["input"])
    modules: list[list[nn.Module]] = []
    for kind, *arguments in SETTINGS["layers"][work["layers"]]:
        match kind:
            case "conv":
                filters, padding = arguments
                conv = nn.Conv2d(shape[2], filters, 3, padding=int(padding == "same"))
                modules.append([conv, nn.ReLU(inplace=True)])
                shrink = 0 if padding == "same" else 2
                shape = (shape[0] - shrink, shape[1] - shrink, filters)
            case "pool":
                modules.append([nn.MaxPool2d(2)])
                shape = (shape[0] // 2, shape[1] // 2, shape[2])
            case "flatten":
                modules.append([FlattenPixels()])
                shape = (int(np.prod(shape)),)
            case "dropout":
                modules.append([nn.Dropout(arguments[0])])
            case "dense":
                units, activation = arguments
                dense: list[nn.Module] = [nn.Linear(shape[0], units)]
                modules.append(dense + [nn.ReLU(inplace=True)] * (activation == "relu"))
                shape = (units,)
    cut = work.get("frozen", 0)
    front = nn.Sequential(*(module for layer in modules[:cut] for module in layer))
    rest = nn.Sequential(*(module for layer in modules[cut:] for module in layer))
    for part in (front, rest):
        part.to(device=device_of(work), memory_format=idiom.memory_format)
    return front.requires_grad_(False), rest


def build_optimizer(work: Mapping[str, Any], idiom: Idiom, model: nn.Module) -> Any:
    """Return the optimizer of the settings; PyTorch's Adam has epsilon outside the root."""
    constants = SETTINGS[work["optimizer"]]
    how = {idiom.optimizer: True}
    if work["optimizer"] == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=constants["lr"], momentum=constants["momentum"], **how
        )
    return torch.optim.Adam(
        model.parameters(),
        lr=constants["lr"],
        betas=(constants["beta_1"], constants["beta_2"]),
        eps=constants["epsilon"],
        **how,
    )


class Loop:
    """One work in one idiom, built and ready.

    Attributes:
        steps: Of one epoch.
    """

    def __init__(self, work: Mapping[str, Any], idiom: Idiom, folder: Path) -> None:
        torch.manual_seed(0)
        self._work, self._idiom = work, idiom
        self._epochs = Epochs(work, idiom, folder)
        self._input = NetworkInput(work, idiom)
        self.steps = self._epochs.steps
        self._last: Callable[[], Arrays] = dict
        self.epoch: Callable[[], Scores] = getattr(self, f"_{work['kind']}")
        if "layers" in work:
            self._front, self._model = build_network(work, idiom)
        if work["kind"] == "train":
            self._optimizer = build_optimizer(work, idiom, self._model)
            self._front.eval()
            self._model.train()
            self._use_precision_and_compiler()
        elif "layers" in work:
            self._model.eval()
            if idiom.model == "mkldnn":
                self._model = mkldnn_utils.to_mkldnn(self._model)

    def arrays(self) -> Arrays:
        """Return what a check compares: weights of a training, else the last batch's arrays."""
        if self._work["kind"] != "train":
            return self._last()
        named = {"front": self._front, "learnt": self._model}
        return {
            f"{part}/{name}": parameter.detach().float().cpu().numpy().copy()
            for part, module in named.items()
            for name, parameter in module.named_parameters()
        }

    def _use_precision_and_compiler(self) -> None:
        """Decide how a training computes: ``_run_front`` and ``_run_model``."""
        front, model = self._front, self._model
        self._autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        if self._work.get("precision") == "bfloat16":
            # What does not learn is rounded once.
            front = self._front = front.to(torch.bfloat16)
            self._autocast = partial(torch.autocast, device_of(self._work).type, torch.bfloat16)
        if self._idiom.model == "graph":
            front, model = (torch.compile(part, mode="reduce-overhead") for part in (front, model))
        self._run_front, self._run_model = front, model

    def _train(self) -> Scores:
        device = device_of(self._work)
        total = torch.zeros((), device=device)
        hits = torch.zeros((), dtype=torch.int64, device=device)
        for batch in self._epochs():
            inputs = self._input(batch)
            if len(self._front):
                with torch.no_grad():
                    inputs = self._run_front(inputs.to(next(self._front.parameters()).dtype))
            self._optimizer.zero_grad(set_to_none=True)
            with self._autocast():
                logits = self._run_model(inputs).squeeze(1).float()
            loss = F.binary_cross_entropy_with_logits(logits, batch.labels)
            loss.backward()
            self._optimizer.step()
            total += loss.detach()
            hits += ((logits.detach() > 0) == batch.labels).sum()
        return self._scores(total, hits)

    @torch.inference_mode()
    def _evaluate(self) -> Scores:
        total, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for batch in self._epochs():
            logits = self._forward(batch).squeeze(1)
            total += F.binary_cross_entropy_with_logits(logits, batch.labels)
            hits += ((logits > 0) == batch.labels).sum()
        return self._scores(total, hits)

    @torch.inference_mode()
    def _feed(self) -> Scores:
        for batch in self._epochs():
            inputs = self._input(batch)
        # Converted when a check asks for them: no part of the work.
        self._last = lambda: self._fed(batch, inputs)
        return Scores()

    def _fed(self, batch: Batch, inputs: Tensor) -> Arrays:
        outputs = inputs.permute(0, 2, 3, 1).contiguous().numpy()
        arrays = {"inputs": batch.inputs.numpy(), "outputs": outputs}
        if batch.theta is None or batch.colour is None:
            return arrays
        centre = (self._work["input"][0] - 1) / 2
        affine = batch.theta.numpy().copy()
        affine[:, :, 2] = centre - centre * affine[:, :, :2].sum(2)
        return {**arrays, "affine": affine, "colour": batch.colour.numpy()}

    @torch.inference_mode()
    def _extract(self) -> Scores:
        size = self._work["batch"]
        for step, batch in enumerate(self._epochs()):
            outputs = self._forward(batch).permute(0, 2, 3, 1)
            if step == 0:
                shape = (len(self._epochs.labels), *outputs.shape[1:])
                features = np.empty(shape, np.float32)
            features[step * size : (step + 1) * size] = outputs.numpy()
        self._last = lambda: {"outputs": features}
        return Scores()

    def _forward(self, batch: Batch) -> Tensor:
        inputs = self._input(batch)
        if self._idiom.model != "mkldnn":
            return self._model(inputs)
        # Its flatten and dense layers take packed tensors as well.
        return self._model(inputs.contiguous().to_mkldnn()).to_dense()

    def _scores(self, total: Tensor, hits: Tensor) -> Scores:
        return Scores(float(total) / self.steps, int(hits) / len(self._epochs.labels))


def idioms_of(work: Mapping[str, Any]) -> Mapping[str, Idiom]:
    """Return the idioms of a work, by name."""
    if work.get("device") == "gpu":
        return IDIOMS["train on a GPU"]
    if work["kind"] == "train":
        return IDIOMS["train" if work.get("preprocessing") else "features"]
    idioms = IDIOMS.get(work["kind"], IDIOMS["forward"])
    # Without augmentation there is no grid.
    return {
        name: idiom
        for name, idiom in idioms.items()
        if work.get("augmented") or idiom.grid == "outer"
    }


def build_loops(work: Mapping[str, Any], folder: Path) -> Mapping[str, Callable[[], Loop]]:
    """Return what builds each idiom's loop, by the idiom's name."""
    return {
        name: lambda idiom=idiom: Loop(work, idiom, folder)
        for name, idiom in idioms_of(work).items()
    }


# What follows is the same in torch.py, jax.py and keras.py: a program that imports nothing of
# ours cannot share it.


def try_idioms(builders: Mapping[str, Callable[[], Any]]) -> tuple[Any, Mapping[str, Any]]:
    """Return the loop of the fastest idiom, and the reply that names it.

    The shortest epoch decides: what disturbs a machine only lengthens epochs. The fastest few are
    tried again, for a disturbance may last as long as a trial.
    """
    loops: dict[str, Any] = {}
    tried: dict[str, Any] = {}
    for name, build in builders.items():
        try:
            loop = build()
            loop.epoch()
            tried[name] = shortest_epoch(loop) / loop.steps
            loops[name] = loop
        except Exception as error:
            traceback.print_exc()
            tried[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    if not loops:
        raise RuntimeError(f"no idiom works: {tried}")
    for name in sorted(loops, key=lambda name: tried[name])[: SETTINGS["measure"]["tried_again"]]:
        tried[name] = min(tried[name], shortest_epoch(loops[name]) / loops[name].steps)
    best = min(loops, key=lambda name: tried[name])
    loop = loops[best]
    return loop, {"idioms": tried, "idiom": best, "epoch_s": tried[best] * loop.steps}


def shortest_epoch(loop: Any) -> float:
    """Return the seconds of the shortest of several epochs."""
    epochs_s: list[float] = []
    until_s = time.perf_counter() + SETTINGS["measure"]["try_s"]
    while len(epochs_s) < 2 or time.perf_counter() < until_s:
        epochs_s.append(time_epochs(loop, 1))
    return min(epochs_s)


def time_epochs(loop: Any, epochs: int) -> float:
    """Return the seconds that some epochs take."""
    started_s = time.perf_counter()
    for _ in range(epochs):
        loop.epoch()
    return time.perf_counter() - started_s


def check_idioms(builders: Mapping[str, Callable[[], Any]], results: Path, *, epochs: int) -> None:
    """Run each idiom and write scores and arrays to ``results``, for a test to judge."""
    index: dict[str, Any] = {}
    results.mkdir(parents=True, exist_ok=True)
    for number, (name, build) in enumerate(builders.items()):
        loop = build()
        before = loop.arrays()
        scores = [loop.epoch() for _ in range(epochs)]
        kept = {f"before/{key}": array for key, array in before.items()}
        kept |= {f"after/{key}": array for key, array in loop.arrays().items()}
        np.savez(results / f"{number}.npz", **kept)
        index[name] = {"file": f"{number}.npz", "scores": scores}
    (results / "index.json").write_text(json.dumps(index), encoding="utf-8")


def serve(
    builders: Mapping[str, Callable[[], Any]], versions: Mapping[str, str], pipe: Any
) -> None:
    """Answer the runner's requests, one JSON object a line, until its end of the pipe closes."""

    def reply(**values: Any) -> None:
        pipe.write(json.dumps(values) + "\n")
        pipe.flush()

    reply(versions=versions)
    loop: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "prepare":
            loop, tried = try_idioms(builders)
            reply(**tried)
        else:
            seconds = time_epochs(loop, request["epochs"])
            reply(seconds=seconds, steps=request["epochs"] * loop.steps)


def main() -> None:
    """Serve the runner, or check every idiom."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", required=True, choices=SETTINGS["work"], action="append")
    parser.add_argument("--data", required=True, type=Path, help="holds WORK/inputs.npy and so on")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--check", type=Path, help="write scores and arrays to this folder")
    parser.add_argument("--epochs", type=int, default=3, help="of each idiom, with --check")
    arguments = parser.parse_args()
    # Frameworks print; replies have the original standard output to themselves.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(arguments.threads)
    # As the harness does on a GPU, where shapes are constant.
    torch.backends.cudnn.benchmark = True
    versions = {"torch": torch.__version__}
    for work in arguments.work:
        builders = build_loops(SETTINGS["work"][work], arguments.data / work)
        if arguments.check:
            check_idioms(builders, arguments.check / work, epochs=arguments.epochs)
        else:
            serve(builders, versions, pipe)
    # Threads and processes of the framework may outlive their loop.
    pipe.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

"""Task of a backend: every setting of one trial, and its batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchharness.model.network import Network, Shape

OptimizerName = Literal["sgd", "adam", "rmsprop"]
Output = Literal["softmax", "sigmoid"]
Precision = Literal["float32", "tf32", "bfloat16"]
Layout = Literal["channels_last", "channels_first"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """One update rule, written out so that both backends apply the same one.

    With gradient g, parameter p, step t from 1 and everything starting at zero:

    - all: ``p -= lr * weight_decay * p`` first (decoupled), when weight_decay is not 0.
    - sgd: ``v = momentum * v + g``; ``p -= lr * v``, or with nesterov
      ``p -= lr * (g + momentum * v)``.
    - adam: ``m = beta_1 m + (1-beta_1) g``; ``s = beta_2 s + (1-beta_2) g^2``;
      ``p -= lr * (m / (1-beta_1^t)) / (sqrt(s / (1-beta_2^t)) + epsilon)``.
    - rmsprop: ``s = rho s + (1-rho) g^2``; ``p -= lr * g / (sqrt(s) + epsilon)``.

    Attributes:
        lr: Learning rate, constant over the trial.

    Source:
        Adam: Kingma and Ba (2015), algorithm 1. Decoupled decay: Loshchilov and Hutter (2019).
        RMSprop: Tieleman and Hinton, lecture 6.5 (2012), epsilon outside the root as in PyTorch.
    """

    name: OptimizerName
    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    beta_1: float = 0.9
    beta_2: float = 0.999
    rho: float = 0.9
    epsilon: float = 1e-7
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How a uint8 image becomes a network input: ``(image[..., order] - mean) * scale``.

    Attributes:
        name: As in the suite, for example ``caffe_bgr``.
        order: Channel order, for example (2, 1, 0) for RGB to BGR.
        mean: One value per channel of the new order, 0-255.
        scale: One factor per channel of the new order.
        whitening: Applied to the flattened image after scaling; None for none.
    """

    name: str
    order: tuple[int, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    whitening: Whitening | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Whitening:
    """ZCA whitening in the span of the leading components, fitted on training images.

    An image x, flattened in NHWC order, becomes ``((x - mean) @ basis * gain) @ basis.T``.

    Attributes:
        mean: float32, shape (values,).
        basis: float32, shape (values, components), orthonormal columns.
        gain: float32, shape (components,), 1 / sqrt(variance + epsilon).

    Source:
        Bell and Sejnowski, "The independent components of natural scenes" (1997).
    """

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    gain: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AugmentationParams:
    """The core's augmentation of one batch; a plugin applies it before preprocessing.

    First the affine map, then the colour shift, then clipping to 0-255.

    Attributes:
        affine: float32, shape (batch, 2, 3). The output pixel (x, y) is read from the input at
            ``affine @ (x, y, 1)``, in pixels, the centre of the first pixel at (0, 0); bilinear,
            and outside the image the nearest edge pixel. x runs along the width.
        colour: float32, shape (batch, channels), added to each pixel, 0-255 scale.
    """

    affine: NDArray[np.float32]
    colour: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """The images of one step.

    Attributes:
        ids: int64, shape (batch,). Which images of the prepared dataset these are.
        inputs: uint8 images, shape (batch, height, width, channels), or float32 features. Where
            the task states files, training and feeding get uint8 of shape (batch, 0, 0, 0): the
            backend loads the files of the ids itself.
        labels: int32, shape (batch,), from 0.
        warp: The augmentation to apply; None for none.
    """

    ids: NDArray[np.int64]
    inputs: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int32]
    warp: AugmentationParams | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: slice | NDArray[np.int64]) -> Batch:
        """Return the images at some places, with their warps."""
        warp = self.warp
        if warp is not None:
            warp = AugmentationParams(affine=warp.affine[places], colour=warp.colour[places])
        return Batch(
            ids=self.ids[places],
            inputs=self.inputs[places],
            labels=self.labels[places],
            warp=warp,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What one pass over some images gave.

    Attributes:
        loss: Mean cross-entropy in nats, each image weighted alike.
        top1: Share of images whose best guess is right, 0-1.
        count: Images seen.
    """

    loss: float
    top1: float
    count: int

    @property
    def right(self) -> int | None:
        """How many best guesses are right; None where ``top1`` is not a number.

        A share may be a mean in float32: 0.89999998 of 40 images are 36.
        """
        return round(self.top1 * self.count) if math.isfinite(self.top1) else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FingerprintSpec:
    """What a backend records of the batches that it really consumes.

    At each of the sampled steps it takes the first ``images`` images of the batch, starting over
    at the first where the batch has fewer, as the network sees them: augmented and preprocessed.
    The fingerprint of an image is the sum of its values, each times the pattern's.

    Steps are sampled so that the record costs a timed epoch less than 1 %; a proof samples all.

    Attributes:
        pattern: float32, shape of one input, channels last.
        images: Images of each batch.
        steps: Positions of the sampled steps in an epoch, counted from 0, ascending. Positions
            beyond the end of an epoch are ignored.
    """

    pattern: NDArray[np.float32]
    images: int
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConsumedBatches:
    """Record of the sampled steps of the last epoch, in their order.

    Attributes:
        fingerprints: float32, shape (steps, images).
        labels: int32, shape (steps, images); of the same images, as the loss saw them.
    """

    fingerprints: NDArray[np.float32]
    labels: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """The image files that a backend loads itself when it trains or feeds, JPEG or PNG.

    An image becomes uint8 RGB, or grey where the network's input has one channel, resized straight
    to the input's height and width without cropping. Files of which decoders make different
    pixels never come here: CMYK, transparent, turned by EXIF, or of more than 8 bits.

    Attributes:
        paths: The file of each image of the prepared dataset, by id. Without ``folder``, batches
            tell by their ids which to load, in which order, and carry the core's warps; files are
            resized bilinearly with antialiasing, and decoded as the prepared images are, within
            one level.
        folder: A folder with one folder for each class, which sorted by name stand in the order
            of the labels and hold the training images; for the framework's own loader of such
            folders, with its own order, resizing and augmentation. Batches then tell only how
            many images each step takes. None for loading by ids.
    """

    paths: tuple[str, ...]
    folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeSettings:
    """What a suite states for the native track; everything else is the framework's own default.

    Attributes:
        optimizer: The constants of ``Optimizer`` that the suite or the strategy's recipe states,
            by its attributes' names; always ``name``, unless nothing is trained.
        augmentation: How far training images are varied, by the suite's names, for example
            ``{"flip_horizontal": True, "shear": 0.2}``; what is absent is not asked for. For the
            framework's own augmentation, where it loads a folder; prepared images carry warps.
        batch_size: Images of one step.
    """

    optimizer: Mapping[str, str | float]
    augmentation: Mapping[str, float]
    batch_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a backend is to compute; what it cannot honour it refuses with UnsupportedError.

    Attributes:
        device: ``cpu`` or ``gpu``. The core has already hidden every accelerator but the one
            to use, so a backend takes the first it sees.
        threads: CPU threads for the arithmetic.
        precision: ``float32`` (no TF32 anywhere), ``tf32``, or ``bfloat16`` (mixed: arithmetic in
            bfloat16, weights and loss in float32).
        layout: How feature maps lie in memory.
        compile: Hand the training step to the framework's compiler (XLA, torch.compile). A
            framework that compiles in any case does so unasked, and tells in its settings.
        is_deterministic: Use only kernels that give the same bits each time. For proofs; a timed
            trial never asks for it.
    """

    device: Literal["cpu", "gpu"]
    threads: int
    precision: Precision = "float32"
    layout: Layout = "channels_last"
    compile: bool = False
    is_deterministic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One piece of work for a backend, with nothing left to its defaults.

    Attributes:
        network: What to build. Without layers when the work is to feed images only.
        weights: Initial value of every learnt array, float32, by canonical name. In the native
            track only of arrays that are given, pretrained or from a trained head: the others
            start from the framework's own initialiser, drawn from ``seed``.
        trainable: Names of the layers that learn; the others stay as they are.
        output: ``softmax`` over one logit per class, or ``sigmoid`` of a single logit (two
            classes; positive means class 1). The loss is its cross-entropy, from logits.
        optimizer: None when nothing is trained, and in the native track.
        preprocessing: From uint8 image to network input; None when the inputs are features.
        is_augmented: Whether training batches carry ``AugmentationParams``.
        seed: For what only the framework can draw (dropout masks).
        fingerprint_spec: What to record of the batches that are fed or trained on; None for
            nothing.
        files: What to load when training or feeding; None for the images of the batches. Scores,
            logits and gradients are always of the images of the batches.
        native: Set in the native track alone.
        inputs: All of which batches hold rows, by id, where they fit on the device; else None. A
            training or feeding that keeps them there says so by an attribute ``holds_inputs``
            that is true: its batches have inputs of shape (batch, 0, 0, 0) then, and it takes
            the rows of their ids itself.
    """

    network: Network
    weights: Mapping[str, NDArray[np.float32]]
    trainable: tuple[str, ...]
    output: Output
    optimizer: Optimizer | None
    preprocessing: Preprocessing | None
    is_augmented: bool
    execution: Execution
    seed: int
    fingerprint_spec: FingerprintSpec | None = None
    files: FileSource | None = None
    native: NativeSettings | None = None
    inputs: NDArray[np.uint8] | NDArray[np.float32] | None = None

    @property
    def input_shape(self) -> Shape:
        """Shape of one input without the batch axis."""
        return self.network.input_shape

"""Networks of a cell: the frozen front that runs once, and the part that learns."""

from __future__ import annotations

from dataclasses import dataclass

from benchharness.model.backbones import BACKBONES
from benchharness.model.network import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Network, Shape
from benchharness.suite.settings import (
    BottleneckSettings,
    FineTuneSettings,
    SimpleCnnSettings,
    StrategySettings,
    TrainingSettings,
    TransferSettings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The networks of one cell.

    Attributes:
        backbone: The layers whose weights may be pretrained; None for none.
        front: Frozen layers whose outputs are computed once and stored; None for none.
        learner: The network that training runs, fed by the images or by the front's outputs.
        trainable: Names of the learner's layers that learn.
    """

    backbone: Network | None
    front: Network | None
    learner: Network
    trainable: tuple[str, ...]

    @property
    def params(self) -> int:
        """Number of learnt values in the whole network."""
        return self.learner.count() + (self.front.count() if self.front else 0)

    @property
    def trainable_params(self) -> int:
        """Number of learnt values that the optimizer updates."""
        return self.learner.count(self.trainable)

    @property
    def flops_per_image(self) -> int:
        """Operations of one forward pass through the whole network."""
        front = self.front.flops_per_image() if self.front else 0
        return front + self.learner.flops_per_image()


def build_workload(settings: StrategySettings, *, channels: int, classes: int) -> Workload:
    """Return the networks for one cell; the dataset has so many channels and classes.

    Raises:
        ValueError: The images are too small for the network, or a sigmoid cannot tell so many
            classes apart.
    """
    image = (settings.image_size, settings.image_size, channels)
    learner = settings if isinstance(settings, TrainingSettings) else None
    if learner and learner.output_for(classes) == "sigmoid" and classes != 2:
        raise ValueError(f"output sigmoid distinguishes 2 classes, the dataset has {classes}")
    if isinstance(settings, TransferSettings):
        return _transfer(settings, image=image, classes=classes)
    if isinstance(settings, SimpleCnnSettings):
        network = simple_cnn(settings, image=image, classes=classes)
    else:
        network = Network(input_shape=image, layers=())
    return Workload(backbone=None, front=None, learner=network, trainable=network.learning_layers())


def simple_cnn(settings: SimpleCnnSettings, *, image: Shape, classes: int) -> Network:
    """Return convolutions and pooling, then the head that every strategy has."""
    layers: list[Layer] = []
    for number, filters in enumerate(settings.filters, start=1):
        layers.append(Conv(name=f"conv{number}", filters=filters))
        if settings.pool == "each" or number == len(settings.filters):
            layers.append(MaxPool(name=f"pool{number}"))
    layers.append(Dropout(name="dropout", rate=settings.dropout))
    return Network(input_shape=image, layers=(*layers, *head(settings, classes=classes)))


def head(settings: TrainingSettings, *, classes: int) -> tuple[Layer, ...]:
    """Return flatten, one hidden dense layer, dropout and the logits."""
    outputs = 1 if settings.output_for(classes) == "sigmoid" else classes
    return (
        Flatten(name="head_flatten"),
        Dense(name="head_dense", units=settings.dense, activation="relu"),
        Dropout(name="head_dropout", rate=settings.dropout),
        Dense(name="head_logits", units=outputs),
    )


def _transfer(settings: TransferSettings, *, image: Shape, classes: int) -> Workload:
    backbone = BACKBONES[settings.backbone]
    base = Network(input_shape=image, layers=backbone.layers)
    network = base.then(head(settings, classes=classes))
    frozen = list(backbone.blocks)
    is_front_stored = isinstance(settings, BottleneckSettings)
    if isinstance(settings, FineTuneSettings):
        is_front_stored = settings.reuse_frozen
        if settings.trainable == "all":
            frozen = []
        elif settings.trainable != "head":
            frozen = frozen[: frozen.index(settings.trainable)]
    if not frozen:
        trainable = network.learning_layers()
        return Workload(backbone=base, front=None, learner=network, trainable=trainable)
    front, rest = network.split(after=backbone.blocks[frozen[-1]])
    return Workload(
        backbone=base,
        front=front if is_front_stored else None,
        learner=rest if is_front_stored else network,
        trainable=rest.learning_layers(),
    )

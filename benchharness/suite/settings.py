"""Settings of a benchmark: one class per strategy, on shared bases.

A field states the bounds of its own value; rules between two settings are in `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from benchharness.model.backbones import BACKBONES, Release


class TomlSchema(GenerateJsonSchema):
    """JSON Schema of what TOML can say: there is no null, a key is absent instead."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Return the schema of the value when it is there."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema with its default, unless that is to be absent."""
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the schema of a table, described by the first line of its docstring."""
        table = super().model_schema(schema)
        for field in table.get("properties", {}).values():
            if "description" in field:
                field["description"] = " ".join(field["description"].split())
        return table | {"description": table.get("description", "").split("\n")[0]}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False: a title would repeat the key."""
        return False


class StrictModel(BaseModel):
    """A table of a suite file: unknown keys are errors, and no value is converted silently."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    @cache
    def toml_schema(cls) -> JsonSchemaValue:
        """Return the table's JSON schema."""
        return cls.model_json_schema(schema_generator=TomlSchema)


class OptimizerSettings(StrictModel):
    """The update rule.

    A table without ``name`` changes the strategy's own optimizer; one with ``name`` starts from
    the defaults written here.
    """

    name: Literal["sgd", "adam", "rmsprop"] = "adam"
    """The update rule."""
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate, constant over a trial."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """sgd: share of the last step kept."""
    nesterov: bool = False
    """sgd: look ahead along the momentum."""
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    """adam: decay of the mean gradient."""
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    """adam: decay of the mean square."""
    rho: float = Field(default=0.9, ge=0, lt=1)
    """rmsprop: decay of the mean square."""
    epsilon: float = Field(default=1e-7, gt=0)
    """adam, rmsprop: added to the root."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay, times lr."""


class AugmentationSettings(StrictModel):
    """Range of random changes to training images, drawn for each image and epoch."""

    flip_horizontal: bool = False
    """Mirror half of the images left to right."""
    flip_vertical: bool = False
    """Mirror half of the images top to bottom."""
    crop: float = Field(default=0.0, ge=0, le=0.9)
    """Cut out a square whose side is 1 - crop to 1 of the image."""
    shift: float = Field(default=0.0, ge=0, le=0.9)
    """Move by up to this share of the side."""
    rotation: float = Field(default=0.0, ge=0, le=180)
    """Rotate by up to this many degrees."""
    shear: float = Field(default=0.0, ge=0, le=2)
    """Slant by up to this tangent."""
    zoom: float = Field(default=0.0, ge=0, le=0.9)
    """Scale by 1 - zoom to 1 + zoom."""
    channel_shift: float = Field(default=0.0, ge=0, le=255)
    """Add up to this much to each colour, of 255."""

    @property
    def is_identity(self) -> bool:
        """Whether images stay as they are."""
        return not any(self.model_dump().values())


Preprocessing = Annotated[
    Literal["unit", "caffe_bgr", "imagenet_rgb", "standard", "zca", "pretrained"],
    Field(
        description="unit: pixels / 255. caffe_bgr: BGR minus ImageNet's mean, as Keras's VGG16 "
        "learnt. imagenet_rgb: ImageNet's mean 0 and deviation 1, as torchvision's VGG16 learnt. "
        "standard: mean 0, deviation 1 per channel. zca: standard, then PCA whitening. "
        "pretrained: what the backbone's weights learnt with.",
    ),
]
Dropout = Annotated[float, Field(ge=0, lt=1, description="Share of values dropped in training.")]
Epochs = Annotated[int, Field(ge=1, le=10_000, description="Passes over the training images.")]
Output = Annotated[
    Literal["auto", "softmax", "sigmoid"],
    Field(
        description="softmax: one logit per class. sigmoid: a single logit, for two classes. "
        "auto: sigmoid for two classes, softmax for more."
    ),
]


class Settings(StrictModel):
    """Settings of every strategy."""

    image_size: int = Field(default=64, ge=8, le=1024)
    """Side in pixels that images are resized to."""
    train_images: int | None = Field(default=None, ge=2)
    """Training images to use, over all classes; absent: all."""
    test_images: int | None = Field(default=None, ge=2)
    """Test images to use, over all classes; absent: all."""
    batch_size: int = Field(default=50, ge=1, le=65_536)
    """Images handled by one step."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Arithmetic; float32 means no TF32 anywhere, bfloat16 is mixed."""
    layout: Literal["channels_last", "channels_first"] = "channels_last"
    """Memory order of feature maps."""
    compile: bool = False
    """Hand the step to the framework's compiler."""
    preprocessing: Preprocessing = "unit"
    augmentation: AugmentationSettings = AugmentationSettings()
    """How training images are varied; absent: not at all."""
    threads: int | None = Field(default=None, ge=1, le=4096)
    """CPU threads; absent: the cores of the machine."""
    input: Literal["prepared", "files"] | None = None
    """What training reads. prepared: images decoded beforehand, alike for all. files: the image
    files, each by the framework's own loader. Absent: prepared in track equal, files in track
    native. Scores are always taken on prepared images."""
    time_limit_s: float | None = Field(default=None, gt=0)
    """Seconds after which a trial is ended as timed out; absent: no limit."""

    @property
    def trains_on_images(self) -> bool:
        """Whether images, and no stored features, are what training reads."""
        return True


class FeedSettings(Settings):
    """Strategy `dataset`: bring the images to the device, and nothing else."""

    strategy: Literal["dataset"] = "dataset"
    epochs: Epochs = 1


class TrainingSettings(Settings):
    """Settings of every strategy that learns."""

    epochs: Epochs = 1
    validation: float = Field(default=0.2, ge=0, le=0.5)
    """Share of the training images held out for validation."""
    dropout: Dropout = 0.3
    dense: int = Field(default=1024, ge=1, le=1_000_000)
    """Units of the hidden dense layer."""
    output: Output = "softmax"
    optimizer: OptimizerSettings = OptimizerSettings(name="adam")
    """The update rule and its constants."""
    target_top1: float | None = Field(default=None, ge=0, le=1)
    """Accuracy whose time is measured (time_to_top1_s)."""

    def output_for(self, classes: int) -> Literal["softmax", "sigmoid"]:
        """Return the output, as so many classes have it."""
        if self.output == "auto":
            return "sigmoid" if classes == 2 else "softmax"
        return self.output

    @field_validator("optimizer", mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        """Return the table over the strategy's own optimizer, when it names none itself."""
        if not isinstance(value, dict) or "name" in value:
            return value
        own: OptimizerSettings = cls.model_fields["optimizer"].default
        return own.model_dump(exclude_unset=True) | value


class SimpleCnnSettings(TrainingSettings):
    """Strategy `simple_cnn`: a small convolutional network, trained from scratch."""

    strategy: Literal["simple_cnn"] = "simple_cnn"
    filters: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        default=(64, 128), strict=False, min_length=1
    )
    """Filters of each 3x3 convolution."""
    pool: Literal["end", "each"] = "end"
    """Where 2x2 max pooling is: after the last convolution or each one."""


class TransferSettings(TrainingSettings):
    """Settings of the strategies on a pretrained backbone."""

    backbone: Literal["vgg16", "vgg_mini"] = "vgg16"
    """The pretrained feature extractor."""
    weights: Literal["pretrained", "imagenet", "imagenet_torchvision", "drawn", "random"] = (
        "pretrained"
    )
    """What the backbone starts from. pretrained: its first release that is available. vgg16:
    imagenet (Keras's), imagenet_torchvision. vgg_mini: drawn."""
    dropout: Dropout = 0.5
    output: Output = "auto"

    @property
    def releases(self) -> Mapping[str, Release]:
        """The pretrained weights that these settings admit, the preferred first."""
        backbone = BACKBONES[self.backbone]
        return backbone.candidates(weights=self.weights, preprocessing=self.preprocessing)


class BottleneckSettings(TransferSettings):
    """Strategy `bottleneck`: the backbone runs once, a new head learns from its features."""

    strategy: Literal["bottleneck"] = "bottleneck"
    reuse_features: bool = True
    """Use features stored by an earlier trial of the same content."""

    @property
    def trains_on_images(self) -> bool:
        """False: the head learns from stored features."""
        return False


class FineTuneSettings(TransferSettings):
    """Strategy `fine_tune`: the head and part of the backbone learn together."""

    strategy: Literal["fine_tune"] = "fine_tune"
    trainable: Literal["head", "block5", "all"] = "block5"
    """What learns: the head, also the backbone's last block, or all."""
    head_from: str | None = Field(default=None, min_length=1)
    """The bottleneck benchmark whose trained head to start from."""
    reuse_frozen: bool = False
    """Compute the frozen blocks once and store what they give."""
    optimizer: OptimizerSettings = OptimizerSettings(name="sgd", lr=1e-4, momentum=0.9)
    """The update rule and its constants."""

    @property
    def trains_on_images(self) -> bool:
        """Whether the frozen blocks see the images in each epoch."""
        return not self.reuse_frozen


StrategySettings = FeedSettings | SimpleCnnSettings | BottleneckSettings | FineTuneSettings

STRATEGIES: Mapping[str, type[StrategySettings]] = {
    "dataset": FeedSettings,
    "simple_cnn": SimpleCnnSettings,
    "bottleneck": BottleneckSettings,
    "fine_tune": FineTuneSettings,
}


# Every setting by key; those that several strategies know have one type.
SETTINGS: Mapping[str, FieldInfo] = {
    key: field
    for model in STRATEGIES.values()
    for key, field in model.model_fields.items()
    if key != "strategy"
}


def setting_names(strategy: str) -> tuple[str, ...]:
    """Return the keys that benchmarks of a strategy may set."""
    return tuple(name for name in STRATEGIES[strategy].model_fields if name != "strategy")


def settings_from_dict(data: Mapping[str, Any]) -> StrategySettings:
    """Return settings from what their ``model_dump(mode="json")`` gave.

    Raises:
        KeyError: ``strategy`` is missing or unknown.
        pydantic.ValidationError: A value is not what the strategy accepts.
    """
    return STRATEGIES[data["strategy"]].model_validate(dict(data))

"""Suite file: its tables as pydantic models, those of benchmarks discriminated by strategy.

Tables of settings are checked and then kept as written, because what they mean is known only once
defaults, benchmark, profile and matrix are merged: see `resolve`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from benchharness.files import expanded
from benchharness.model.quantities import QUANTITIES, Quantity
from benchharness.plugins import extensions, load_extension
from benchharness.suite.settings import SETTINGS, STRATEGIES, StrictModel, setting_names

T = TypeVar("T")
MATRIX = "Settings to vary, each with a list of values; every combination runs."
# The trials of each backend before the first look, and at the last one where nothing else is said.
FEWEST_TRIALS, LAST_LOOK, MOST_TRIALS = 3, 10, 1000
MINIMUM_PAIRS, MOST_PAIRS = 6, 20
# On a shared machine equal code differed by more than 5 % between two runs one time in three: a
# deviation of 5 %, of which two are this.
DRIFT = 0.1
AUTO: Literal["auto"] = "auto"


# --- Values --------------------------------------------------------------------------------------


def _distinct(values: T) -> T:
    if not isinstance(values, list | tuple):
        return values
    seen = {value if isinstance(value, Hashable) else repr(value) for value in values}
    if len(seen) < len(values):
        raise ValueError("a value occurs twice")
    return values


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float) or value in (math.inf, -math.inf) or value != value:
        raise ValueError("not a scalar")
    return value


def _trials(value: Any) -> Any:
    if value == AUTO or (type(value) is int and 1 <= value <= MOST_TRIALS):
        return value
    raise ValueError("not a number of trials")


def _requirement(text: str) -> str:
    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise ValueError("not a requirement") from error
    return text


_LIST = Field(strict=False, min_length=1, json_schema_extra={"uniqueItems": True})
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
Names = Annotated[tuple[Text, ...], _LIST, AfterValidator(_distinct)]
Scalar = Annotated[
    Any, AfterValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
_Requirement = Annotated[
    str, AfterValidator(_requirement), WithJsonSchema({"type": "string", "format": "requirement"})
]
Requirements = Annotated[tuple[_Requirement, ...], _LIST, AfterValidator(_distinct)]
Trials = Annotated[
    int | Literal["auto"],
    PlainValidator(_trials),
    WithJsonSchema(
        {
            "description": "Trials of each cell; auto: until the backends differ or are equal.",
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_TRIALS},
                {"type": "string", "enum": [AUTO]},
            ],
        }
    ),
]
_MAX_TRIALS = "With trials = auto: the maximum number of trials."
MaxTrials = Annotated[int, Field(ge=FEWEST_TRIALS, le=MOST_TRIALS, description=_MAX_TRIALS)]
_MAX_MINUTES = "With trials = auto: no trials beyond the first three of each cell after this time."
MaxMinutes = Annotated[float, Field(gt=0, description=_MAX_MINUTES)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Track = Literal["equal", "native"]
_TRACKS = "equal: all settings pinned alike. native: each framework's own defaults and loader."
Tracks = Annotated[tuple[Track, ...], _LIST, AfterValidator(_distinct), Field(description=_TRACKS)]
Threshold = Annotated[float, Field(gt=0, le=10)]


# --- Tables made of settings ---------------------------------------------------------------------


def _table(name: str, description: str, fields: Mapping[str, Any], *, base: Any = None) -> Any:
    """Return the model of a table with these fields, each with its type and default."""
    return create_model(
        name, __base__=base or StrictModel, __doc__=description, __module__=__name__, **fields
    )


def _checked(model: Any) -> Any:
    """Return the type of a table that a model checks, and that is kept as written."""

    def check(value: Any, validate: Callable[[Any], object]) -> Any:
        validate(value)
        return value

    return Annotated[model, WrapValidator(check), PlainSerializer(lambda value: value)]


def _type_of(field: FieldInfo) -> Any:
    """Return the type of a field, with its bounds and its description."""
    description = " ".join((field.description or "").split()) or None
    return Annotated[field.annotation, *field.metadata, Field(description=description)]


def _optional(fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return the fields without their defaults: absent, they change nothing."""
    return {key: (_type_of(field) | None, None) for key, field in fields.items()}


def _matrix(name: str, keys: Iterable[str], *, base: Any = None) -> Any:
    """Return the type of a table that gives each of some settings a list of values."""
    axes = {
        key: Annotated[tuple[_type_of(SETTINGS[key]), ...], _LIST, BeforeValidator(_distinct)]  # type: ignore[misc]
        for key in keys
    }
    fields = {key: (axis | None, None) for key, axis in axes.items()}
    return _checked(_table(name, MATRIX, fields, base=base))


class _NonEmptyMatrix(StrictModel):
    """A matrix that varies something."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="before")
    @classmethod
    def _require_axis(cls, value: Any) -> Any:
        if value == {}:
            raise ValueError("no axis")
        return value


def _threshold(quantity: Quantity) -> Any:
    unit = "points of accuracy (0.02: 2 %)" if quantity.kind == "accuracy" else "a share"
    description = f"How much worse {quantity.name} may get, {unit}."
    return Threshold | None, Field(default=None, description=description)


if TYPE_CHECKING:
    ColumnName = str
    Source = str
    _Columns = StrictModel
    Defaults = Mapping[str, Any]
    Matrix = Mapping[str, list[Any]]
else:
    # Those of installed plugins too, so that a misspelt one is reported with all of them.
    Source = Literal[
        "folder", "flat", "cats_dogs", "fashion_mnist", "drawn", *extensions("datasets")
    ]
    ColumnName = Literal[*QUANTITIES]
    _Columns = _table("_Columns", "", {name: _threshold(each) for name, each in QUANTITIES.items()})
    Defaults = _checked(
        _table("Defaults", "Settings, for every benchmark that knows them.", _optional(SETTINGS))
    )
    Matrix = _matrix("Matrix", SETTINGS)


# --- Tables --------------------------------------------------------------------------------------


class Thresholds(_Columns):
    """When a difference counts: for every speed, and column by column."""

    threshold: Threshold | None = None
    """How much slower counts, a share; of every speed not named here."""

    @property
    def by_column(self) -> Mapping[str, float]:
        """The thresholds that the table states, with those of speeds that it implies."""
        written: dict[str, Any] = self.model_dump(include=set(QUANTITIES), exclude_none=True)
        if self.threshold is None:
            return written
        speeds = [name for name, quantity in QUANTITIES.items() if quantity.kind == "speed"]
        return dict.fromkeys(speeds, self.threshold) | written


class Regression(Thresholds):
    """How `benchharness compare` judges this suite."""

    columns: Annotated[tuple[ColumnName, ...], _LIST, AfterValidator(_distinct)] | None = None
    """What is compared, and has to be decided; absent: speeds, memory, accuracy."""
    pairs: Annotated[int, Field(ge=MINIMUM_PAIRS, le=1000)] = MOST_PAIRS
    """Maximum number of pairs of trials of each cell."""
    minutes: float | None = Field(default=None, gt=0)
    """No new pairs after this time, once each cell has the minimum."""
    drift: float = Field(default=DRIFT, ge=0, le=10)
    """How far equal code may differ in speed between two runs at different times, a share; 0 on a
    machine that nothing else disturbs."""


class DatasetSettings(StrictModel):
    """Source of the images.

    Attributes:
        path: As written; `SuiteFile.resolve_path` gives the place it means.
    """

    source: Source
    """Kind of dataset."""
    path: Text | None = None
    """Its folder, relative to the suite file."""
    fallback: Literal["drawn"] | None = None
    """What to use, and announce, where real images are unavailable."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What to do about an unreadable image: stop, or leave it out."""
    on_leak: Literal["warn", "error"] = "warn"
    """What to do about an image in both training and test: warn, or stop."""

    @property
    def has_files(self) -> bool:
        """Whether each image is a separate file, which a framework can load by itself."""
        if self.source not in extensions("datasets"):
            return True
        return bool(load_extension("datasets", self.source)().has_files)


class BackendTable(StrictModel):
    """How one backend differs from the plugin of its name."""

    plugin: Text | None = None
    """The plugin; absent: the plugin of this name."""
    options: dict[str, Scalar] = Field(default={})
    """Options of the plugin."""
    compile: bool | None = None
    """In place of the setting, for this backend alone."""
    python: Text | None = None
    """Its workers' interpreter: a path, relative to the suite file, or a command."""
    requirements: Requirements | None = None
    """Packages of a separate environment, which `benchharness env sync` builds."""

    @property
    def has_own_interpreter(self) -> bool:
        """Whether its workers have another interpreter than the one that runs us."""
        return self.python is not None or self.requirements is not None


class Published(StrictModel):
    """Figures of another source, shown beside ours."""

    top1: float | None = Field(default=None, ge=0, le=1)
    """Accuracy, 0-1."""
    epoch_s: float | None = Field(default=None, gt=0)
    """Seconds per epoch."""
    metric: Text | None = None
    """What top1 was measured on, in words."""
    note: Text | None = None
    """Where the figures come from, and what differs."""


class BenchmarkOptions(StrictModel):
    """Keys of a benchmark, and of a profile's table for it, that are no settings."""

    backends: Names | None = None
    """Only these backends run it."""
    trials: Trials | None = None
    max_trials: MaxTrials | None = None
    tracks: Tracks | None = None
    matrix: Matrix | None = Field(default=None, description=MATRIX)
    published: Published | None = None
    """Figures to show beside ours."""
    regression: Thresholds | None = None
    """How much worse counts here, when two sides are compared."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the table states."""
        return self.model_dump(include=set(SETTINGS), exclude_unset=True)


class Benchmark(BenchmarkOptions):
    """One strategy with its settings, perhaps varied over a matrix.

    A benchmark of a suite is of the subclass of its strategy, which also has that strategy's
    settings.
    """

    name: Name
    """How results and options call it."""
    strategy: Literal["dataset", "simple_cnn", "bottleneck", "fine_tune"]
    """The way to learn."""


def _benchmark(strategy: str) -> Any:
    """Return the model of a benchmark of one strategy."""
    model = STRATEGIES[strategy]
    # Only a profile may state an empty matrix, to take the benchmark's away.
    matrix = _matrix(f"{strategy}_matrix", setting_names(strategy), base=_NonEmptyMatrix)
    chosen = Field(description=model.__doc__)
    fields = {
        "strategy": (model.model_fields["strategy"].annotation, chosen),
        "matrix": (matrix | None, Field(default=None, description=MATRIX)),
    }
    return _table(strategy, f"A benchmark of strategy {strategy}.", fields, base=(Benchmark, model))


if TYPE_CHECKING:
    AnyBenchmark = Benchmark
    UnknownBenchmark = Benchmark
    Override = BenchmarkOptions
    DatasetChanges = Mapping[str, Any]
else:
    AnyBenchmark = Annotated[
        Union[tuple(map(_benchmark, STRATEGIES))],  # noqa: UP007
        Field(discriminator="strategy"),
    ]
    # Checks a benchmark whose strategy is missing or misspelt.
    UnknownBenchmark = _table("UnknownBenchmark", "", _optional(SETTINGS), base=Benchmark)
    Override = _table(
        "Override", "Changes to one benchmark.", _optional(SETTINGS), base=BenchmarkOptions
    )
    DatasetChanges = _checked(
        _table(
            "DatasetChanges",
            "Keys of [dataset] to change.",
            _optional(DatasetSettings.model_fields),
        )
    )


class Profile(StrictModel):
    """Changes for a kind of machine, or for a purpose."""

    description: str = ""
    """One line for the reader."""
    device: Literal["cpu", "gpu"] | None = None
    """The kind of machine on which this profile is the default."""
    trials: Trials | None = None
    max_trials: MaxTrials | None = None
    max_minutes: MaxMinutes | None = None
    tracks: Tracks | None = None
    backends: Names | None = None
    """Only these backends run."""
    benchmarks: Names | None = None
    """Only these benchmarks run."""
    dataset: DatasetChanges = Field(default={})
    """Keys of [dataset] to change."""
    defaults: Defaults = Field(default={})
    """Settings to change in every benchmark."""
    benchmark: dict[str, Override] = Field(default={})
    """What to change, by benchmark name."""


class SuiteFile(StrictModel):
    """A suite, as its file states it.

    Attributes:
        weights: Weight files by backbone, as written; `resolve_path` gives the places they mean.
    """

    name: Name
    """How results are filed."""
    title: str = ""
    """Shown over the table."""
    seed: Seed = 0
    """Seed of the first trial; each further one adds 1."""
    trials: Trials = AUTO
    max_trials: MaxTrials = LAST_LOOK
    max_minutes: MaxMinutes | None = None
    tracks: Tracks = ("equal",)
    backends: Names | None = None
    """The backends to compare."""
    weights_fallback: Literal["random"] | None = None
    """What to use, and announce, where pretrained weights are unavailable."""
    weights: dict[Literal["vgg16", "vgg_mini"], Text] = Field(default={})
    """Weight files by backbone, relative to the suite file."""
    dataset: DatasetSettings
    backend: dict[str, BackendTable] = Field(default={})
    """What to change, by backend name."""
    defaults: Defaults = Field(default={})
    """Settings of every benchmark that knows them."""
    benchmark: tuple[AnyBenchmark, ...] = Field(strict=False, min_length=1)
    profiles: dict[str, Profile] = Field(default={})
    """Changes by profile name."""
    regression: Regression | None = None
    """When a difference counts, and how long to look for it."""

    _path: Path = PrivateAttr(default=Path())

    def model_post_init(self, context: Any, /) -> None:
        """Remember the file that the document was read from."""
        if context:
            self._path = context["path"]

    @property
    def path(self) -> Path:
        """The suite file."""
        return self._path

    def resolve_path(self, written: str) -> Path:
        """Return the absolute path that a path in the file means; ``~`` is the home folder."""
        return (self._path.parent / expanded(written)).absolute()

    def regression_settings(self, *, profile: str | None) -> dict[str, Any]:
        """Return all that the suite states of regressions, as JSON knows it."""
        table = self.regression or Regression()
        return {
            "columns": list(table.columns) if table.columns else None,
            "drift": table.drift,
            "thresholds": {
                benchmark.name: self._thresholds(benchmark, profile=profile)
                for benchmark in self.benchmark
            },
        }

    def _thresholds(self, benchmark: Benchmark, *, profile: str | None) -> dict[str, float]:
        """Return the thresholds of a benchmark by column; the most specific table wins."""
        changes = {} if profile is None else self.profiles[profile].benchmark
        change = changes.get(benchmark.name)
        thresholds: dict[str, float] = {}
        for table in (self.regression, benchmark.regression, change and change.regression):
            thresholds |= table.by_column if table else {}
        return thresholds


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a suite, by which editors complete, explain and check."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **SuiteFile.toml_schema(),
        "title": "benchharness suite",
    }

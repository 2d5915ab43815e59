"""The shape of a suite file: its tables, apart from the settings of benchmarks.

Settings are kept as written (`settings`, `defaults`), because what they mean is known only once
defaults, benchmark, profile and matrix are laid over one another: see `layers`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
)

from benchharness.extensions import extensions, load_extension
from benchharness.files import expanded
from benchharness.suite.regression import Regression, Thresholds
from benchharness.suite.tables import Table

T = TypeVar("T")
# The trials of each backend before the first look, and at the last one where nothing else is said.
FEWEST_TRIALS, LAST_LOOK, MOST_TRIALS = 3, 10, 1000
AUTO: Literal["auto"] = "auto"


def _different(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values, each of which may stand there once."""
    seen = {value if isinstance(value, Hashable) else repr(value) for value in values}
    if len(seen) < len(values):
        raise ValueError("a value stands there twice")
    return values


def _scalar(value: Any) -> Any:
    """Return the value when it is text, a finite number or a boolean."""
    if not isinstance(value, str | int | float) or value in (math.inf, -math.inf) or value != value:
        raise ValueError("not a scalar")
    return value


def _trials(value: Any) -> int | Literal["auto"]:
    """Return the value when it is a number of trials, or ``auto``."""
    if value == AUTO or (type(value) is int and 1 <= value <= MOST_TRIALS):
        number: int | Literal["auto"] = value
        return number
    raise ValueError("not a number of trials")


def _requirement(text: str) -> str:
    """Return the text when it is a requirement as installers understand it."""
    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise ValueError("not a requirement") from error
    return text


_LIST = Field(strict=False, min_length=1, json_schema_extra={"uniqueItems": True})
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
Names = Annotated[tuple[Text, ...], _LIST, AfterValidator(_different)]
Axis = Annotated[tuple[Any, ...], _LIST, AfterValidator(_different)]
Scalar = Annotated[
    Any, AfterValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
Requirements = Annotated[
    tuple[
        Annotated[
            str,
            AfterValidator(_requirement),
            WithJsonSchema({"type": "string", "format": "requirement"}),
        ],
        ...,
    ],
    _LIST,
    AfterValidator(_different),
]
MATRIX = "Settings to vary, each with a list of values; every combination runs."
Trials = Annotated[
    int | Literal["auto"],
    PlainValidator(_trials),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_TRIALS},
                {"type": "string", "enum": [AUTO]},
            ]
        }
    ),
]
MaxTrials = Annotated[int, Field(ge=FEWEST_TRIALS, le=MOST_TRIALS)]
MaxMinutes = Annotated[float, Field(gt=0)]
TRIALS = "How often each cell runs; auto: until backends are told apart or found equal."
MAX_TRIALS = "With trials = auto: at most so many."
MAX_MINUTES = "With trials = auto: no trials beyond the first three of each cell after so many."
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Track = Literal["equal", "native"]
Tracks = Annotated[tuple[Track, ...], _LIST, AfterValidator(_different)]
TRACKS = "equal: all settings pinned alike. native: each framework's own defaults and loader."
_OWN_SOURCES = ("folder", "flat", "cats_dogs", "fashion_mnist", "drawn")
# Those of installed plugins too, so that a slip of the finger is told with all of them.
SOURCES = list(dict.fromkeys([*_OWN_SOURCES, *extensions("datasets")]))


def _known(source: str) -> str:
    """Return the name of a dataset when it is one."""
    if source not in SOURCES:
        raise ValueError("not a source")
    return source


Source = Annotated[str, AfterValidator(_known), WithJsonSchema({"enum": SOURCES, "type": "string"})]


class DatasetSettings(Table):
    """Where images come from.

    Attributes:
        path: As written; `SuiteFile.beside` gives the place it means.
    """

    source: Source = Field(description="Kind of dataset.")
    path: Text | None = Field(default=None, description="Its folder, relative to the suite file.")
    fallback: Literal["drawn"] | None = Field(
        default=None, description="What to use, and announce, where nothing real can be had."
    )
    on_bad_image: Literal["error", "skip"] = Field(
        default="error", description="What to do about an unreadable image: stop, or leave it out."
    )
    on_leak: Literal["warn", "error"] = Field(
        default="warn",
        description="What to do about a picture that is in training and test: say so, or stop.",
    )

    @property
    def has_files(self) -> bool:
        """Whether each image is a file of its own, which a framework can load by itself."""
        if self.source not in extensions("datasets"):
            return True
        return bool(load_extension("datasets", self.source)().has_files)


class BackendTable(Table):
    """How one backend differs from the plugin of its name."""

    plugin: Text | None = Field(
        default=None, description="The plugin; absent: the one of this name."
    )
    options: dict[str, Scalar] = Field(default={}, description="Options of the plugin.")
    compile: bool | None = Field(
        default=None, description="In place of the setting, for this backend alone."
    )
    python: Text | None = Field(
        default=None,
        description="Its workers' interpreter: a path, relative to the suite file, or a command.",
    )
    requirements: Requirements | None = Field(
        default=None,
        description="Packages of an environment of its own, which `benchharness env sync` builds.",
    )

    @property
    def has_own_interpreter(self) -> bool:
        """Whether its workers have another interpreter than the one that runs us."""
        return self.python is not None or self.requirements is not None


class Published(Table):
    """Figures of another source, shown beside ours."""

    top1: float | None = Field(default=None, ge=0, le=1, description="Accuracy, 0-1.")
    epoch_s: float | None = Field(default=None, gt=0, description="Seconds per epoch.")
    metric: Text | None = Field(default=None, description="What top1 was measured on, in words.")
    note: Text | None = Field(
        default=None, description="Where the figures come from, and what differs."
    )


class Overridable(Table):
    """A table of settings, and what it may say beside them."""

    model_config = ConfigDict(extra="allow")

    backends: Names | None = Field(default=None, description="Only these backends run it.")
    trials: Trials | None = Field(default=None, description=TRIALS)
    max_trials: MaxTrials | None = Field(default=None, description=MAX_TRIALS)
    tracks: Tracks | None = Field(default=None, description=TRACKS)
    matrix: dict[str, Axis] | None = Field(default=None, description=MATRIX)
    published: Published | None = Field(default=None, description="Figures to show beside ours.")
    regression: Thresholds | None = Field(
        default=None, description="How much worse counts here, when two sides are compared."
    )

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings, as written."""
        return self.model_extra or {}


class Benchmark(Overridable):
    """One strategy with its settings, perhaps varied over a matrix."""

    # Only a profile may state an empty matrix, to take the benchmark's away.
    matrix: dict[str, Axis] | None = Field(default=None, min_length=1, description=MATRIX)
    name: Name = Field(description="How results and options call it.")
    strategy: Literal["dataset", "simple_cnn", "bottleneck", "fine_tune"] = Field(
        description="The way to learn."
    )


class Profile(Table):
    """What changes on a kind of machine, or for a purpose."""

    description: str = Field(default="", description="One line for the reader.")
    device: Literal["cpu", "gpu"] | None = Field(
        default=None, description="The kind of machine that chooses this profile by itself."
    )
    trials: Trials | None = Field(default=None, description=TRIALS)
    max_trials: MaxTrials | None = Field(default=None, description=MAX_TRIALS)
    max_minutes: MaxMinutes | None = Field(default=None, description=MAX_MINUTES)
    tracks: Tracks | None = Field(default=None, description=TRACKS)
    backends: Names | None = Field(default=None, description="Only these backends run.")
    benchmarks: Names | None = Field(default=None, description="Only these benchmarks run.")
    dataset: dict[str, Any] = Field(default={}, description="Keys of [dataset] to change.")
    defaults: dict[str, Any] = Field(
        default={}, description="Settings to change in every benchmark."
    )
    benchmark: dict[str, Overridable] = Field(
        default={}, description="What to change, by benchmark name."
    )


class SuiteFile(Table):
    """A suite, as its file states it.

    Attributes:
        weights: Weight files by backbone, as written; `beside` gives the places they mean.
    """

    name: Name = Field(description="How results are filed.")
    title: str = Field(default="", description="Shown over the table.")
    seed: Seed = Field(default=0, description="Seed of the first trial; each further one adds 1.")
    trials: Trials = Field(default=AUTO, description=TRIALS)
    max_trials: MaxTrials = Field(default=LAST_LOOK, description=MAX_TRIALS)
    max_minutes: MaxMinutes | None = Field(default=None, description=MAX_MINUTES)
    tracks: Tracks = Field(default=("equal",), description=TRACKS)
    backends: Names | None = Field(default=None, description="The backends to compare.")
    weights_fallback: Literal["random"] | None = Field(
        default=None,
        description="What to use, and announce, where pretrained weights cannot be had.",
    )
    weights: dict[Literal["vgg16", "vgg_mini"], Text] = Field(
        {}, description="Weight files by backbone, relative to the suite file."
    )
    dataset: DatasetSettings
    backend: dict[str, BackendTable] = Field(
        default={}, description="What to change, by backend name."
    )
    defaults: dict[str, Any] = Field(
        default={}, description="Settings of every benchmark that knows them."
    )
    benchmark: tuple[Benchmark, ...] = Field(strict=False, min_length=1)
    profiles: dict[str, Profile] = Field(default={}, description="Changes by profile name.")
    regression: Regression | None = Field(
        default=None, description="When a difference counts, and how long to look for it."
    )

    _path: Path = PrivateAttr(default=Path())

    def model_post_init(self, context: Any, /) -> None:
        """Remember the file that the document was read from."""
        if context:
            self._path = context["path"]

    @property
    def path(self) -> Path:
        """The suite file."""
        return self._path

    def beside(self, written: str) -> Path:
        """Return the absolute path that a path in the file means; ``~`` is the home folder."""
        return (self._path.parent / expanded(written)).absolute()

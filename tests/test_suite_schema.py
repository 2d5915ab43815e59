"""The JSON schema of suites, as an editor applies it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import jsonschema
import pytest
from suite_files import BOTTLENECK, CNN, FINE_TUNE, PETS, suite_of

from benchharness.suite.file import json_schema
from benchharness.suite.settings import STRATEGIES, setting_names

SUITES = sorted((Path(__file__).parent.parent / "suites").glob("*.toml"))
FULL = (
    PETS
    + "path = 'x'\n[weights]\nvgg16 = 'w'\n[backend.keras-jax]\nplugin = 'keras'\n"
    + "options = { engine = 'jax', n = 1, fast = true }\n[defaults]\ntrain_images = 10\n"
    + CNN
    + "matrix = { batch_size = [1, 2], optimizer = [{ lr = 1 }] }\npublished = { note = 'n' }\n"
    + BOTTLENECK
    + FINE_TUNE
    + "[profiles.cpu]\ndevice = 'cpu'\ntrials = 'auto'\nmax_trials = 5\nmax_minutes = 3\n"
    + "[profiles.cpu.dataset]\nfallback = 'drawn'\n"
    + "[profiles.cpu.defaults]\nfilters = [3]\n"
    + "[profiles.cpu.benchmark.cnn]\nmatrix = {}\npublished = {}\nepochs = 2\n"
)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """Return what checks documents against the schema."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_of_the_project_is_valid(
    validator: jsonschema.Draft202012Validator, path: Path
) -> None:
    """An editor finds nothing wrong with our own suites."""
    validator.validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_whatever_the_loader_reads_is_valid(
    validator: jsonschema.Draft202012Validator, tmp_path: Path
) -> None:
    """A suite that uses every table is accepted by the loader and by the schema."""
    suite_of(tmp_path, FULL)

    validator.validate(tomllib.loads(FULL))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("name = 'pets'", "nmae = 'pets'"),
        ("path = 'x'", "pth = 'x'"),
        ("train_images", "train_image"),
        ("batch_size = [1, 2]", "batch_size = []"),
        ("batch_size = [1, 2]", "batch_size = [0]"),
        ("batch_size = [1, 2]", "trainable = ['all']"),
        ("'simple_cnn'", "'simple_cn'"),
        ("'simple_cnn'\n", "'simple_cnn'\nbackbone = 'vgg16'\n"),
        ("'simple_cnn'\n", "'simple_cnn'\ndropout = 1.0\n"),
        ("strategy = 'simple_cnn'\n", ""),
        ("note = 'n'", "top1 = 91"),
        ("vgg16 = 'w'", "vgg19 = 'w'"),
        ("fallback = 'drawn'", "fallback = 'drawing'"),
        ("epochs = 2", "epoch = 2"),
        ("trials = 'auto'", "trials = 'some'"),
        ("trials = 'auto'", "trials = 0"),
        ("max_trials = 5", "max_trials = 2"),
        ("max_minutes = 3", "max_minutes = 0"),
    ],
)
def test_mistake_is_found_by_the_schema(
    validator: jsonschema.Draft202012Validator, right: str, wrong: str
) -> None:
    """An editor underlines what the loader would refuse."""
    text = FULL.replace('"', "'")
    assert right in text

    document = tomllib.loads(text.replace(right, wrong, 1))

    assert not validator.is_valid(document)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_benchmark_offers_the_keys_of_its_strategy_alone(strategy: str) -> None:
    """Completion inside a benchmark knows the strategy's settings, described, and no others."""
    tables = json_schema()["$defs"]

    properties = tables[strategy]["properties"]
    common = {"name", "strategy", "backends", "trials", "tracks", "matrix", "published"}
    common |= {"max_trials", "regression"}
    assert set(properties) == common | set(setting_names(strategy))
    assert tables[strategy]["additionalProperties"] is False
    # A table that is described where it is defined need not be described again.
    named = {f"#/$defs/{name}": table["description"] for name, table in tables.items()}
    assert all(value.get("description") or named[value["$ref"]] for value in properties.values())

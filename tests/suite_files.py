"""Suite files for the tests of `benchharness.suite`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchharness.errors import SuiteError
from benchharness.suite.file import SuiteFile
from benchharness.suite.load import load

HEAD = 'name = "pets"\nseed = 7\nbackends = ["keras", "torch"]\n'
DATASET = '[dataset]\nsource = "cats_dogs"\n'
CNN = '[[benchmark]]\nname = "cnn"\nstrategy = "simple_cnn"\n'
BOTTLENECK = '[[benchmark]]\nname = "bottleneck"\nstrategy = "bottleneck"\n'
FINE_TUNE = '[[benchmark]]\nname = "fine_tune"\nstrategy = "fine_tune"\nhead_from = "bottleneck"\n'
PETS = HEAD + DATASET
# Drawn images, and the NumPy reference in two precisions, which do the same work: no framework.
NUMPY_TWINS = """
backends = ["numpy", "single"]

[dataset]
source = "drawn"

[backend.single]
plugin = "numpy"
options = { dtype = "float32" }
"""
# One benchmark on the images of a folder, for runs that the disk disturbs.
FOLDER_SUITE = """
name = "pets"
trials = 1
backends = ["numpy"]
[dataset]
source = "folder"
path = "data"
[defaults]
image_size = 16
[[benchmark]]
name = "feed"
strategy = "dataset"
"""


def suite_file(folder: Path, text: str) -> Path:
    """Write a suite file and return its path."""
    path = folder / "pets.toml"
    path.write_text(text, encoding="utf-8")
    return path


def suite_of(folder: Path, text: str) -> SuiteFile:
    """Return the suite of a text."""
    return load(suite_file(folder, text))


def problems_of(folder: Path, text: str) -> list[str]:
    """Return what `load` says against a text, one line per problem, without the file."""
    path = suite_file(folder, text)
    with pytest.raises(SuiteError) as caught:
        load(path)
    return [line.removeprefix(f"{path}: ") for line in caught.value.lines()]

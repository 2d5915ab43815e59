"""Wheels that no index has, for the tests of environments."""

from __future__ import annotations

import sysconfig
import zipfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

PLUGIN = """
from slowpoke_helper import VERSION

from benchharness.api import hookimpl
from benchharness.testing.reference import NumpyBackend


class Slowpoke(NumpyBackend):
    def versions(self):
        return {**super().versions(), "slowpoke-helper": VERSION}


@hookimpl
def benchharness_backend(options):
    return Slowpoke(dtype="float32")
"""


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    files: Mapping[str, str],
    requires: tuple[str, ...] = (),
    entry_points: str = "",
) -> None:
    """Write a wheel of some files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {text}" for text in requires]
    inside = {
        **files,
        f"{stem}.dist-info/METADATA": "\n".join(metadata) + "\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/RECORD": "",
    }
    if entry_points:
        inside[f"{stem}.dist-info/entry_points.txt"] = entry_points
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for file, text in inside.items():
            wheel.writestr(file, text)


def write_shelf(folder: Path) -> dict[str, str]:
    """Write wheels of a plugin and of two versions of its framework; return how to find them.

    What the core requires stands there by name and version alone, in wheels without files; one of
    them leads to where it is installed here. An environment is then built in a second, by the real
    installer, and what is built really runs.
    """
    for number in ("1.0", "2.0"):
        code = {"slowpoke_helper.py": f"VERSION = {number!r}\n"}
        write_wheel(folder, "slowpoke-helper", number, files=code)
    write_wheel(
        folder,
        "benchharness-slowpoke",
        "1.0",
        files={"benchharness_slowpoke/__init__.py": "", "benchharness_slowpoke/plugin.py": PLUGIN},
        requires=("slowpoke-helper>=1",),
        entry_points="[benchharness]\nslowpoke = benchharness_slowpoke.plugin\n",
    )
    for text in distribution("benchharness").requires or ():
        requirement = Requirement(text)
        if requirement.marker is None:
            known = distribution(requirement.name)
            is_first = requirement.name == "numpy"
            here = {"of_this_interpreter.pth": sysconfig.get_path("purelib") + "\n"}
            write_wheel(folder, known.name, known.version, files=here if is_first else {})
    return shelf_variables(folder)


def shelf_variables(folder: Path) -> dict[str, str]:
    """Return variables with which an installer finds what is on a shelf, and nothing else."""
    return {
        "BENCHHARNESS_OFFLINE": "1",
        "UV_FIND_LINKS": str(folder),
        "UV_NO_INDEX": "1",
        # Else what an index has of the same name and version would be taken from there.
        "UV_CACHE_DIR": str(folder / "uv-cache"),
        "PIP_FIND_LINKS": str(folder),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }

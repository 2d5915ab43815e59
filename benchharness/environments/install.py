"""Copies of distributions that are installed here, in another environment.

What is edited in place is imported from the same place there; a wheel's files are the same files.
So both environments run the same code, and nothing has to be published or built for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement

from benchharness.environments.build import isolated_env_vars, python_of
from benchharness.environments.dependencies import installed_as, parse_requirements
from benchharness.errors import RunError

CORE = "benchharness"
_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def copy_distribution(known: Distribution, folder: Path) -> None:
    """Copy the files of a distribution into an environment.

    Args:
        folder: Of the environment.

    Raises:
        RunError: The distribution has no list of its files.
    """
    files = [file for file in known.files or () if ".." not in file.parts]
    if not files:
        raise RunError(
            f"{known.name}: expected the list of its files in {_location(known)}, found none "
            "(install it with pip or uv)"
        )
    site = _site_packages(folder)
    sources: list[str] = []
    for file in files:
        source = Path(str(file.locate()))
        if "__pycache__" in file.parts or not source.is_file():
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        sources += [str(target)] if target.suffix == ".py" else []
    # As an installer does: the first trial would else pay for it, on one side only.
    command = [str(python_of(folder)), "-m", "compileall", "-q", "-i", "-"]
    subprocess.run(
        command,
        input="\n".join(sources),
        text=True,
        capture_output=True,
        check=False,
        env=isolated_env_vars(os.environ),
    )


def needs(
    known: Distribution, extras: frozenset[str] = frozenset(), *, python: str
) -> Iterator[str]:
    """Yield what a distribution requires, without extras but those named, as text.

    Args:
        python: Version of the interpreter that it is for, as ``3.12``.
    """
    for requirement in parse_requirements(known.requires or ()):
        marker = str(requirement.marker or "")
        is_of_extras = any(_is_of(requirement, extra, python) for extra in extras)
        if "extra" not in marker:
            yield str(requirement)
        elif is_of_extras:
            requirement.marker = None
            yield str(requirement)


def origin_of(name: str) -> str:
    """Return an installer's argument for a distribution as it is installed here."""
    known = installed_as(name)
    if known is None:
        return name
    origin = json.loads(known.read_text("direct_url.json") or "{}")
    place = urlsplit(origin.get("url", ""))
    if place.scheme == "file":
        editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
        return f"{editable}{url2pathname(place.path)}"
    return f"{name}=={known.version}"


def _is_of(requirement: Requirement, extra: str, python: str) -> bool:
    marker = requirement.marker
    return (
        marker is not None
        and marker.evaluate({"extra": extra, "python_version": python})
        and not marker.evaluate({"extra": "", "python_version": python})
    )


def _site_packages(folder: Path) -> Path:
    python = str(python_of(folder))
    done = subprocess.run(
        [python, "-c", _SITE],
        capture_output=True,
        text=True,
        check=True,
        env=isolated_env_vars(os.environ),
    )
    return Path(done.stdout.strip())


def _location(known: Distribution) -> Path:
    return Path(str(known.locate_file("")))

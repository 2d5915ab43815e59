"""Distributions that are installed here: their dependencies, their origin, and copies of them.

What is edited in place is imported from the same place in another environment; a wheel's files are
the same files. So both environments run the same code, and nothing has to be published for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from benchharness.environments.build import isolated_env_vars, python_of
from benchharness.errors import RunError

CORE = "benchharness"
_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def installed_as(name: str) -> Distribution | None:
    """Return the distribution that is installed under a name; None where none is."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def name_of(text: str) -> str:
    """Return the name that a requirement states, as installers compare it."""
    return canonicalize_name(Requirement(text).name)


def dependency_closure(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """Return the installed distributions that requirements lead to, by canonical name."""
    closure: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [candidate for candidate in requirements if applies(candidate, frozenset())]
    while waiting:
        requirement = waiting.pop()
        extras = frozenset(requirement.extras)
        key = (canonicalize_name(requirement.name), extras)
        known = installed_as(requirement.name)
        if known is not None and key not in seen:
            seen.add(key)
            closure[key[0]] = known
            required = parse_requirements(known.requires or ())
            waiting += [candidate for candidate in required if applies(candidate, extras)]
    return closure


def applies(requirement: Requirement, extras: frozenset[str], **environment: str) -> bool:
    """Return whether a requirement's marker holds here, or in an environment, with some extras."""
    marker = requirement.marker
    return marker is None or any(
        marker.evaluate({"extra": extra, **environment}) for extra in ("", *extras)
    )


def parse_requirements(texts: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements among some lines; constraints also hold options and addresses."""
    for text in texts:
        with suppress(InvalidRequirement):
            yield Requirement(text)


def needs(
    known: Distribution, extras: frozenset[str] = frozenset(), *, python: str
) -> Iterator[str]:
    """Yield what a distribution and some of its extras require on a Python such as ``3.12``."""
    for requirement in parse_requirements(known.requires or ()):
        if "extra" not in str(requirement.marker or ""):
            yield str(requirement)
        elif applies(requirement, extras, python_version=python) and not applies(
            requirement, frozenset(), python_version=python
        ):
            requirement.marker = None
            yield str(requirement)


def origin_of(name: str) -> str:
    """Return an installer's argument for a distribution as it is installed here."""
    known = installed_as(name)
    if known is None:
        return name
    folder, is_editable = source_of(known)
    if folder is None:
        return f"{name}=={known.version}"
    return f"-e {folder}" if is_editable else str(folder)


def source_of(known: Distribution) -> tuple[Path | None, bool]:
    """Return the path that a distribution was installed from, and whether it is imported there."""
    origin = json.loads(known.read_text("direct_url.json") or "{}")
    place = urlsplit(origin.get("url", ""))
    if place.scheme != "file":
        return None, False
    return Path(url2pathname(place.path)), bool(origin.get("dir_info", {}).get("editable"))


def copy_distribution(known: Distribution, folder: Path) -> None:
    """Copy the files of a distribution into the environment of a folder.

    Raises:
        RunError: The distribution has no list of its files.
    """
    files = [file for file in known.files or () if ".." not in file.parts]
    if not files:
        raise RunError(
            f"{known.name}: expected the list of its files in {known.locate_file('')}, found none "
            "(install it with pip or uv)"
        )
    python, variables = str(python_of(folder)), isolated_env_vars(os.environ)
    site = subprocess.check_output([python, "-c", _SITE], text=True, env=variables).strip()
    copied = []
    for file in files:
        source, target = Path(str(file.locate())), Path(site, file)
        if "__pycache__" not in file.parts and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            copied.append(str(shutil.copyfile(source, target)))
    # As an installer does: the first trial would else pay for it, on one side only.
    subprocess.run(
        [python, "-m", "compileall", "-q", "-i", "-"],
        input="\n".join(name for name in copied if name.endswith(".py")),
        text=True,
        capture_output=True,
        check=False,
        env=variables,
    )

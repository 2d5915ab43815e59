"""Wheels that a run needs beyond PyTorch and JAX, for a machine without a package registry.

    python tools/gpu_first/wheels.py FOLDER

builds ours and downloads the others in the versions of constraints.txt, for Python 3.12 on Linux
x86-64, and lists them with their sizes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = (".", *(f"plugins/benchharness-{name}" for name in ("torch", "jax", "keras")))
WANTED = (
    "benchharness[gpu,pytest,report]",
    *(Path(place).name for place in OURS[1:]),
    "hypothesis",
)
# What the machine has: the frameworks, and what JAX cannot be without. tests/test_gpu_first.py
# holds that nothing imports the others: checkpoints of Flax, and pictures of the report's charts.
LEFT_OUT = {"torch", "torchvision", "jax", "jaxlib", "numpy", "scipy", "ml-dtypes", "opt-einsum"}
LEFT_OUT |= {"orbax-checkpoint", "tensorstore", "vl-convert-python"}
# With JAX 0.11; of constraints.txt pip takes the line for the Python that it runs in.
NEWER = "flax>=0.12.10,<0.13"
PYTHON = "3.12"
# pip takes a wheel of exactly these names: those of glibc 2.5 to 2.39.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
# What the device machine's lender lets travel, the working tree included.
MOST_MB = 64


def closure(name: str, seen: set[str]) -> None:
    """Add to ``seen`` a requirement and all that it requires, as it is installed here."""
    wanted = Requirement(name)
    name = canonicalize_name(wanted.name)
    if name in LEFT_OUT or str(wanted) in seen:
        return
    seen |= {name, str(wanted)}
    try:
        needed = [Requirement(text) for text in distribution(name).requires or ()]
    except PackageNotFoundError:
        # Of an extra that is no development dependency; it requires nothing itself.
        return
    extras = ("", *wanted.extras)
    for requirement in needed:
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            requirement.marker = None
            closure(str(requirement), seen)


def main() -> None:
    """Fill the folder, print what it holds, and exit with 1 where that is too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    seen: set[str] = set()
    for name in WANTED:
        closure(name, seen)
    names = {canonicalize_name(Requirement(requirement).name) for requirement in seen}
    names = {name for name in names if not name.startswith(("benchharness", "flax"))}
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    ours = [str(ROOT / place) for place in OURS]
    # hatchling is a development dependency, so nothing is fetched to build with.
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, *ours], check=True
    )
    fetch = [*pip, "download", "--no-deps", "--only-binary", ":all:", "-d", folder]
    fetch += ["--implementation", "cp", "--python-version", PYTHON]
    fetch += [word for name in PLATFORMS for word in ("--platform", name)]
    subprocess.run([*fetch, "-c", ROOT / "constraints.txt", *sorted(names)], check=True)
    subprocess.run([*fetch, NEWER], check=True)
    described = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty=+changes"],
        check=True,
        capture_output=True,
        text=True,
    )
    # What is installed there comes from here, whatever the working tree there is.
    (folder / "commit.txt").write_text(described.stdout, encoding="utf-8")
    sizes = {wheel.name: wheel.stat().st_size for wheel in folder.glob("*.whl")}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:8.2f} MB  {name}")
    total = sum(sizes.values()) / 1e6
    print(f"{total:8.2f} MB  {len(sizes)} wheels in {folder}")
    if total > MOST_MB:
        sys.exit(f"expected at most {MOST_MB} MB")


if __name__ == "__main__":
    main()

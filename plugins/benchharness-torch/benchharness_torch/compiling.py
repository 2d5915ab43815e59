"""Compiler of PyTorch: what torch.compile needs on a machine, and an empty cache."""

from __future__ import annotations

import functools
import os
import shutil
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

from benchharness.api import PluginError


def prepare_compiler(*, is_gpu: bool, is_timed: bool) -> None:
    """Make ready for torch.compile in this process.

    Args:
        is_gpu: Whether it compiles for a GPU, by way of C, or for a CPU, in C++.
        is_timed: Whether its cache must be empty. Else it keeps what it compiles for later
            processes, and the seconds of a trial would depend on the trials before it.

    Raises:
        PluginError: There is no compiler, or it would lack the headers of this Python.
    """
    variable, usual = ("CC", "gcc") if is_gpu else ("CXX", "g++")
    compiler = os.environ.get(variable, usual)
    if shutil.which(compiler) is None:
        raise PluginError(
            f"compile: torch.compile calls {compiler}, which is not installed; install it, for "
            f"example with: apt install g++, or name another in {variable}, or leave out compile"
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise PluginError(
            f"compile: torch.compile needs the headers of this Python, and {headers} has no "
            "Python.h; install it, for example with: apt install python3-dev, or leave out compile"
        )
    if is_timed:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = _own_cache().name


@functools.cache
def _own_cache() -> TemporaryDirectory[str]:
    """Return a folder that goes with the process."""
    return TemporaryDirectory(prefix="benchharness-compiled-")

"""Requirements of torch.compile: what is missing is one sentence, before anything is compiled."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest
from frameworks import require

from benchharness.api import PluginError

pytestmark = pytest.mark.full
MODULES = {"keras": "benchharness_keras.engines.on_torch", "torch": "benchharness_torch.data"}


@pytest.fixture(params=MODULES)
def compiling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of a plugin that prepares the compiler; the environment is put back."""
    require(request.param)
    # Set first, so that what the plugin sets is taken away afterwards.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "another")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    return importlib.import_module(MODULES[request.param])


@pytest.fixture
def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which the headers of Python are looked for, with Python.h in it."""
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("is_gpu", "variable"), [(False, "CXX"), (True, "CC")])
def test_missing_compiler_is_named_with_its_remedy(
    compiling: ModuleType,
    headers: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_gpu: bool,
    variable: str,
) -> None:
    """The trial fails with the command that is missing and the variable that names another."""
    monkeypatch.setenv(variable, "no-such-compiler")

    with pytest.raises(PluginError, match=f"calls no-such-compiler.*another in {variable}"):
        compiling.prepare_compiler(is_gpu=is_gpu, is_timed=True)


def test_missing_headers_of_python_are_named_with_their_remedy(
    compiling: ModuleType, headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler alone does not suffice: what is compiled is an extension of Python."""
    monkeypatch.setenv("CXX", "sh")
    (headers / "Python.h").unlink()

    with pytest.raises(PluginError, match=r"no Python\.h; install it, .*python3-dev"):
        compiling.prepare_compiler(is_gpu=False, is_timed=True)


def test_only_what_is_timed_begins_with_an_empty_cache(
    compiling: ModuleType, headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proof may read what an earlier one has compiled; a trial's seconds must be its own."""
    monkeypatch.setenv("CXX", "sh")
    compiling.prepare_compiler(is_gpu=False, is_timed=False)
    kept = os.environ.get("TORCHINDUCTOR_CACHE_DIR")

    compiling.prepare_compiler(is_gpu=False, is_timed=True)
    first = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    was_empty = not list(first.iterdir())
    (first / "compiled").touch()
    compiling.prepare_compiler(is_gpu=False, is_timed=True)

    second = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert kept is None
    assert was_empty
    assert list(second.iterdir()) == []


def test_feeding_does_not_import_the_compiler() -> None:
    """Nothing is compiled, and importing it takes a second."""
    pytest.importorskip("benchharness_torch")
    script = (
        "import sys\n"
        "from benchharness.model.network import Network\n"
        "from benchharness.model.task import Execution, Task\n"
        "from benchharness.plugins import load_backend\n"
        "task = Task(network=Network(input_shape=(4,), layers=()), weights={}, trainable=(),\n"
        "    output='softmax', optimizer=None, preprocessing=None, is_augmented=False,\n"
        "    execution=Execution(device='cpu', threads=1), seed=0)\n"
        "load_backend('torch', options={}).feed(task)\n"
        "print('torch._dynamo' in sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=900, check=True
    )

    assert done.stdout == "False\n"

"""Variables of the environment that change the arithmetic, the threads or the memory of a trial."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Of the frameworks, of the libraries that compute for them, of the C library and its linker.
_PREFIXES = (
    *("TF_", "XLA_", "JAX_", "TORCH_", "PYTORCH_", "KERAS_"),
    *("CUDA_", "CUBLAS_", "NVIDIA_TF32_OVERRIDE"),
    *("ONEDNN_", "DNNL_", "OMP_", "MKL_", "KMP_", "OPENBLAS_"),
    *("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"),
)
# Which device computes is recorded as the device, by a name that holds on any machine.
_LEFT_OUT = frozenset({"CUDA_VISIBLE_DEVICES"})
# Terraform's variables begin as TensorFlow's do.
_SECRET = re.compile(r"^TF_(VAR|TOKEN|HTTP|CLI)_|TOKEN|SECRET|PASSWORD|CREDENTIAL")


def recorded_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are part of what is measured, by name, sorted.

    Others are never recorded: they may be secrets.

    Args:
        environment: Of the workers.
    """
    return {
        name: _printable(environment[name])
        for name in sorted(environment)
        if name.startswith(_PREFIXES) and name not in _LEFT_OUT and not _SECRET.search(name)
    }


def _printable(value: str) -> str:
    """Return a value whose bytes are no text as text that any file can hold."""
    return value.encode("utf-8", "backslashreplace").decode()

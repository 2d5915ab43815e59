"""Which accelerators this machine has, asked without any deep-learning framework."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One NVIDIA GPU.

    Attributes:
        index: As in ``cuda:INDEX``.
        memory_bytes: All there is on the device.
    """

    index: int
    name: str
    memory_bytes: int
    driver: str

    def as_dict(self) -> dict[str, str | int]:
        """Return the record as JSON-able values."""
        return asdict(self)


def find_accelerators() -> tuple[Accelerator, ...]:
    """Return the NVIDIA GPUs that the driver reports, none where there is no driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    query = "--query-gpu=index,name,memory.total,driver_version"
    try:
        answer = subprocess.run(
            [command, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        # A driver that does not answer can run nothing either.
        return ()
    return tuple(_parse(line) for line in answer.stdout.splitlines() if line.count(",") == 3)


def _parse(line: str) -> Accelerator:
    index, name, mebibytes, driver = (field.strip() for field in line.split(","))
    memory_bytes = int(mebibytes) * 2**20 if mebibytes.isdigit() else 0
    return Accelerator(index=int(index), name=name, memory_bytes=memory_bytes, driver=driver)

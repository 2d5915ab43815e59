"""Processes of Python that we start: they import what is installed, wherever the user stands."""

from __future__ import annotations

import os
from collections.abc import Mapping


def python_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of a process of Python that imports what is installed, and only that.

    Else ``python -m`` and ``python -c`` look into the current folder first, and an empty entry of
    PYTHONPATH, as ``$PYTHONPATH:/more`` leaves where that was not set, means it too. A variable
    and not the option ``-P``: processes of loaders and compilers, which frameworks start, have it
    as well, and an interpreter that is too old to know it starts and says what it is.

    Args:
        environment: Variables of the process; the user's own entries of PYTHONPATH stay.
    """
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join(filter(None, entries))
    kept = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    return {**kept, **({"PYTHONPATH": path} if path else {}), "PYTHONSAFEPATH": "1"}

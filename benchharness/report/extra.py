"""The libraries that the page needs beyond the core's, and whether they are here."""

from __future__ import annotations

from importlib.util import find_spec

# Distribution to the module it brings.
LIBRARIES = {"altair": "altair", "vl-convert-python": "vl_convert", "jinja2": "jinja2"}


def missing() -> list[str]:
    """Return the distributions that are not installed; imports none."""
    return [name for name, module in LIBRARIES.items() if find_spec(module) is None]

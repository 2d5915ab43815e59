"""Templates of our pages, and the files that become part of them."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jinja2

# A page may draw and style itself, and fetch nothing. Vega compiles its expressions.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "img-src data:; base-uri 'none'; form-action 'none'"
)


def template(name: str) -> jinja2.Template:
    """Return a template, in which no name acts as markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("benchharness.report.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def own(name: str) -> str:
    """Return a file that lies beside the templates."""
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def embedded(content: Any) -> str:
    """Return JSON that is safe within a script element, whatever names it holds."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text

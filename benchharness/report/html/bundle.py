"""The drawing library as one script, so that the page asks nobody for anything."""

from __future__ import annotations

import vl_convert

LICENCE = "/* Vega, Vega-Lite and Vega-Embed, with their dependencies: BSD 3-Clause and MIT. */"


def bundle() -> str:
    """Return Vega-Embed with all that it needs; it defines ``vegaEmbed``."""
    code: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # A browser ends the script at the first such tag, even inside a string.
    return f"{LICENCE}\n{code}".replace("</script", "<\\/script")

"""Procedurally drawn cats and dogs: pictures to learn from where no photographs can be had.

Both classes share colours, scenes, poses, sizes and light; only shapes tell them apart.
"""

from __future__ import annotations

from benchharness.data.drawn.picture import draw
from benchharness.data.drawn.writing import VERSION, write_drawn

__all__ = ["VERSION", "draw", "write_drawn"]

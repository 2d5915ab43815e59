"""Drawn animals and objects that are neither cats nor dogs: what `vgg_mini` learnt from.

They share scenes, coats, poses and light with the drawn cats and dogs, and parts such as pointed
ears or long muzzles with either, so that what tells them apart is worth knowing elsewhere.
"""

from __future__ import annotations

from benchharness.data.drawn.zoo.kinds import KINDS, draw_kind

__all__ = ["KINDS", "draw_kind"]

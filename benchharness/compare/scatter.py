"""Scatter of epochs (see sampling)."""

from benchharness.compare.sampling import Scatter as Scatter

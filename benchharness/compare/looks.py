"""Error rate of a comparison (see sampling)."""

from benchharness.compare.sampling import ERROR as ERROR

"""Checks of ``benchharness doctor``: machine, backends, data, weights, disk, and a suite."""

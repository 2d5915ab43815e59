"""Frozen records that every other part of benchharness speaks in."""

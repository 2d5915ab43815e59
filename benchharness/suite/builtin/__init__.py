"""Suites that come with benchharness, for those who have pictures and no suite."""

from __future__ import annotations

from pathlib import Path

# Runs on any folder of classes that --data names.
IMAGES = Path(__file__).with_name("images.toml")

"""``python -m benchharness``."""

from benchharness.cli import main

main()

"""``python -m benchharness``."""

import os
import sys

if not sys.flags.safe_path:
    # The current folder comes first for `-m`: what lies there would be imported in place of what
    # is installed, which is what the workers have. The script `benchharness` needs no second start.
    os.execv(sys.executable, [sys.executable, "-P", *sys.orig_argv[1:]])

from benchharness.cli import main

main()

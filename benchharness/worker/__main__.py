"""Start of a worker: ``python -m benchharness.worker REQUEST.json [EVENTS_FD [RESUME_FD]]``."""

from __future__ import annotations

import sys

from benchharness.worker.main import main
from benchharness.worker.process import exit_process

if __name__ == "__main__":
    exit_process(main(sys.argv[1:]))

"""The worker process: one job, its events on a pipe, everything it prints in a log."""

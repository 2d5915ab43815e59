"""Run of a suite: options, session, inputs, runner, worker processes and events."""

"""One trial inside its worker: what is timed, and what is told of it."""

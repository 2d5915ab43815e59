"""The clock, the machine, and what numbers look wrong."""

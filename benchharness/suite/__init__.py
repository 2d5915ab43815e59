"""Suites: from a TOML file to cells and trials."""

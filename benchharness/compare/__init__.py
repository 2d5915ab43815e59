"""Comparison of two sides: revisions, recorded runs, backends or settings."""

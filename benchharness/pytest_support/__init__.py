"""Suites in a pytest session, and their samples in pytest-benchmark's tables and files."""

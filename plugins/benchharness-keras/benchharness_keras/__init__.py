"""Keras backend for benchharness."""

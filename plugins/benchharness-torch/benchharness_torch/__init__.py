"""PyTorch backend for benchharness."""

"""JAX backend for benchharness."""

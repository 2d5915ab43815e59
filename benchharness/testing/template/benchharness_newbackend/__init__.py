"""newbackend as a backend of benchharness."""

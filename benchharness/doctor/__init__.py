"""What ``benchharness doctor`` looks at: machine, backends, data, weights, disk, and a suite."""

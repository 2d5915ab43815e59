"""From photographs to batches: sources, the prepared cache, batch and augmentation plans."""

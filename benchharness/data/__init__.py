"""Data: from photographs to batches."""

"""Results for human eyes: terminal tables."""

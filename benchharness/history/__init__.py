"""Results over time, and the points where they changed."""

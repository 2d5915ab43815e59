"""What changed between two sides: revisions, runs, backends or settings; and over time."""

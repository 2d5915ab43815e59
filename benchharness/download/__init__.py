"""Published files: where they lie, how they come here, and whether they are what they should be."""

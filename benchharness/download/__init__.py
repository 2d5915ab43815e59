"""Downloads: published files, fetched, checked and kept."""

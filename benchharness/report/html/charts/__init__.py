"""The charts of the page, one noun each: rows of data, and how to draw them."""

"""The report as one page for a browser; nothing here is imported before a page is written."""

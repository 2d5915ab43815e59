"""Worker processes: start, watch, kill with all their children, and explain their end."""

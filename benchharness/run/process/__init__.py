"""A worker seen from outside: started, watched, ended with all its children, and judged."""

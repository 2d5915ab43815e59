"""Interpreters beside the one that runs us, and the sets of packages that are built for them."""

"""Runs on several hosts, by dask.distributed: every ratio is made on one of them."""

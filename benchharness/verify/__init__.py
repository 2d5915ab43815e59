"""Verification of a recorded run: every figure follows from the samples, or is named.

The formulas here are written once more, from what the documentation says of a column. Those that
made the figure would repeat its fault.
"""

"""Cats and dogs, procedurally drawn: to train on where there are no photographs.

Both classes share colours, scenes, poses, sizes and light; only shapes tell them apart.
"""

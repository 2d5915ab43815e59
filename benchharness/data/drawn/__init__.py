"""Procedurally drawn cats and dogs: pictures to learn from where there are no photographs.

Both classes share colours, scenes, poses, sizes and light; only shapes tell them apart.
"""

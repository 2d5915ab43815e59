"""Weights: seeded initial arrays and pretrained backbones."""

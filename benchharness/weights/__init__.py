"""Canonical arrays: seeded initial weights and pretrained backbones."""

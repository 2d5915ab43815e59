"""Probing backends and certifying pairs of them, in processes of their own."""

"""Helpers for codec authors, by part. Plugins may import these and `codecbench`, and nothing else of it."""

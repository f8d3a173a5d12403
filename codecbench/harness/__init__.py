"""Runs an experiment: accuracy pass, timing pass, records."""

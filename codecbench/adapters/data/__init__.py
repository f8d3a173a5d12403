"""Kinds of data, a module each: `open_data` returns the samples that a text names."""

"""Kinds of models, a module each: `open_model` returns the network that a text names."""

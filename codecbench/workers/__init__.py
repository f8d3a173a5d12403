"""Processes that run models and codecs: the parent's side."""

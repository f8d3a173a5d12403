"""Boxes around objects: read from labels, decoded from a detector's outputs, matched, and their average precision."""

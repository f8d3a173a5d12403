"""Base classes of codecs, and their operating points."""

"""Bits, headers, priors and entropy coders."""

"""Figures drawn from records, as SVG and CSV."""

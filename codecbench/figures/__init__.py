"""Figures drawn from records, as SVG, PDF and PNG."""

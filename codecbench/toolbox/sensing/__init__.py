"""Compressive sensing: measuring, bases and recovery."""

"""Helpers for codec authors, by part.

A plugin imports `codecbench` and these parts, and no other module of codecbench.
"""

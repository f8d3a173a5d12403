"""Tilings, quantisers, predictions and linear transforms."""

"""Fits codecs in worker processes, and keeps their fitted states."""

"""Fitted states: where they are kept, and the processes that fit codecs."""

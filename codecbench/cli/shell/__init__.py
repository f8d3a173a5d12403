"""Completion of commands in the user's shell."""
